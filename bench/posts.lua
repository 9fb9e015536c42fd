-- As wrk.lua, for bench/posts. Arguments after `--`: `get`, `post`, or `mixed` for one POST in ten.

local body = string.rep("name=value&", 9) .. "x"

function init(args)
  local form = { ["Content-Type"] = "application/x-www-form-urlencoded" }
  if args[1] == "post" then
    wrk.method, wrk.body = "POST", body
    wrk.headers["Content-Type"] = form["Content-Type"]
  elseif args[1] == "mixed" then
    local get, post, count = wrk.format("GET"), wrk.format("POST", nil, form, body), 0
    -- Defined here alone: it is called for every request and costs the load generator its speed.
    request = function()
      count = count + 1
      return count % 10 == 0 and post or get
    end
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
