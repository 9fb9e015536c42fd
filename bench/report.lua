-- What wrk measured as one line of JSON; `clients`: how many answers each client had, of scripts that count them.
return function(summary, latency, clients)
  local errors = summary.errors
  print(string.format(
    'JSON {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "clients": [%s], ' ..
    '"bad": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), table.concat(clients or {}, ", "),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
