-- Prints what wrk measured as one line of JSON. Arguments after `--`: `close` for a new connection per request, `upload BYTES`.
-- Defines no request() or response(): those would be called for every request and cost the load generator its speed.

function init(args)
  if args[1] == "close" then
    wrk.headers["Connection"] = "close"
  elseif args[1] == "upload" then
    wrk.method = "PUT"
    wrk.body = string.rep("x", tonumber(args[2]))
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    'JSON {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, ' ..
    '"bad": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
