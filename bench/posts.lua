-- For bench/posts: a thread for each client, whose requests are counted. Arguments after `--`: `get`, `post`, or `mixed` for one POST in ten.

local report = dofile(debug.getinfo(1, "S").source:match("^@(.*)posts%.lua$") .. "report.lua")
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local body = string.rep("name=value&", 9) .. "x"
  local get = wrk.format("GET")
  local post = wrk.format("POST", nil, { ["Content-Type"] = "application/x-www-form-urlencoded" }, body)
  local period = ({ get = math.huge, post = 1, mixed = 10 })[args[1]]
  count = 0
  request = function()
    count = count + 1
    return count % period == 0 and post or get
  end
end

function done(summary, latency)
  local clients = {}
  for _, thread in ipairs(threads) do
    table.insert(clients, thread:get("count"))
  end
  report(summary, latency, clients)
end
