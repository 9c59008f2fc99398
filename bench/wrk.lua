-- For wrk: sends prepared requests in turn and prints what came of them as one line of JSON.
-- Arguments: a file with a path and a bearer token (or none) on each line; the method; the body (or none).

local prepared, last = {}, 0

function init(args)
  for line in io.lines(args[1]) do
    local path, token = line:match("^(%S+)%s*(%S*)$")
    local headers = {}
    for name, value in pairs(wrk.headers) do headers[name] = value end
    if token ~= "" then headers["Authorization"] = "Bearer " .. token end
    if args[3] then headers["Content-Type"] = "application/json" end
    prepared[#prepared + 1] = wrk.format(args[2], path, headers, args[3])
  end
end

function request()
  last = last % #prepared + 1
  return prepared[last]
end

function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format('{"requests":%d,"duration_us":%d,"refused":%d,"broken":%d,"p99_us":%d}',
    summary.requests, summary.duration, errors.status, broken, latency:percentile(99)))
end
