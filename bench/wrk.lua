-- Arguments after `--`: `close` for a new connection per request, `upload BYTES`.
-- Defines no request() or response(): those would be called for every request and cost the load generator its speed.

local report = dofile(debug.getinfo(1, "S").source:match("^@(.*)wrk%.lua$") .. "report.lua")

function init(args)
  if args[1] == "close" then
    wrk.headers["Connection"] = "close"
  elseif args[1] == "upload" then
    wrk.method = "PUT"
    wrk.body = string.rep("x", tonumber(args[2]))
  end
end

function done(summary, latency)
  report(summary, latency)
end
