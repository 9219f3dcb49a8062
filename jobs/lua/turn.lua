-- One call a group: mirror, push, delete, give back, pop. Everything in it may be lost without harm.
-- ARGV: the mark of the database ('' where it is not known), mirror ttl in s, then sections, each led by its count:
--   mirrors  (job id and 16 hex digits of version and progress, and an x if RQ is to forget it; rest of the document)
--   pushes   (job id, queue), led by the RFC 3339 time as well
--   starts   (job id), led by the worker's name as well: `rq info` and RQ's command to stop a job look for it
--   returns  (job id, queue): popped, but not claimed; back to the head, in the order they came
--   pops     (queue, ...) after the number of ids wanted; answers a list of queue, id, queue, id, ...
local at = 1
local function take()
  at = at + 1
  return ARGV[at - 1]
end

local mark, ttl = take(), take()
local kept = redis.call('MGET', 'jobs:database', 'jobs:epoch')
if kept[1] and mark ~= '' and kept[1] ~= mark then
  return 'RIVAL'
end
local epoch = kept[2] or '00000000'
if #epoch ~= 8 then
  epoch = '00000000' -- somebody else wrote it; housekeeping begins a new one
end
local forgotten = {}

for _ = 1, tonumber(take()) do
  local head, rest = take(), take()
  local id, version = string.sub(head, 1, 36), epoch .. string.sub(head, 37, 52)
  local key = 'jobs:status:' .. id
  local present = redis.call('GETRANGE', key, 6, 29)
  if present < version or string.sub(present, 1, 8) ~= epoch then -- what is of another epoch is not believed
    redis.call('SET', key, '{"v":"' .. version .. '",' .. rest, 'EX', ttl)
  elseif string.sub(present, 1, 16) == string.sub(version, 1, 16) then
    redis.call('EXPIRE', key, ttl) -- the same row version, so what is there is right: its age starts anew
  end
  if #head > 52 and (present <= version or string.sub(present, 1, 8) ~= epoch) then -- unless it was pushed again since
    forgotten[#forgotten + 1] = 'rq:job:' .. id
  end
end
for i = 1, #forgotten, 1000 do
  redis.call('DEL', unpack(forgotten, i, math.min(i + 999, #forgotten)))
end

local now = take()
for _ = 1, tonumber(take()) do
  local id, queue = take(), take()
  local key, list = 'rq:job:' .. id, 'rq:queue:' .. queue
  redis.call('DEL', key)
  redis.call('HSET', key, 'data', '["jobs.worker.perform",null,["' .. id .. '"],{}]', 'origin', queue,
    'status', 'queued', 'timeout', '-1', 'created_at', now, 'enqueued_at', now,
    'description', 'jobs.worker.perform(' .. id .. ')')
  if redis.call('RPUSH', list, id) == 1 then
    redis.call('SADD', 'rq:queues', list)
  end
end

local worker = take()
for _ = 1, tonumber(take()) do
  local key = 'rq:job:' .. take()
  if redis.call('EXISTS', key) == 1 then
    redis.call('HSET', key, 'status', 'started', 'worker_name', worker)
  end
end

local returns = {}
for i = 1, tonumber(take()) do
  returns[i] = {take(), take()}
end
for i = #returns, 1, -1 do
  redis.call('LPUSH', 'rq:queue:' .. returns[i][2], returns[i][1])
end

local wanted, popped = tonumber(take()), {}
if wanted > 0 and redis.call('EXISTS', 'rq:suspended') == 1 then -- `rq suspend`
  return popped
end
while wanted > 0 and at <= #ARGV do
  local queue = take()
  local ids = redis.call('LPOP', 'rq:queue:' .. queue, wanted)
  if ids then
    for _, id in ipairs(ids) do
      popped[#popped + 1] = queue
      popped[#popped + 1] = id
    end
    wanted = wanted - #ids
  end
end
return popped
