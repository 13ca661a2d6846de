-- For wrk: each request asks for the vector of one line of the file that HPD_TEXTS names, thread by thread from another place on.
local texts = {}
for line in io.lines(os.getenv("HPD_TEXTS")) do
  texts[#texts + 1] = '{"input":"' .. line:gsub('[%c"\\]', " ") .. '","encoding_format":"base64"}'
end
local threads = 0
function setup(thread)
  thread:set("first", threads * 997)
  threads = threads + 1
end
function request()
  first = first + 1
  return wrk.format("POST", "/v1/embeddings", { ["Content-Type"] = "application/json" }, texts[first % #texts + 1])
end
function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('RESULT {"requests": %d, "seconds": %f, "failed": %d, "p50_ms": %f, "p99_ms": %f}\n',
    summary.requests, summary.duration / 1e6, failed, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
