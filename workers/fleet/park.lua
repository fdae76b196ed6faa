-- Parks calls: takes each out of the hands of its worker and into parking, all in one step.
--
-- ARGV[1], JSON:
--   now     Unix seconds; absent: this server's clock
--   ttl     seconds that a record is kept beyond its deadline
--   calls   a list of {id, service, message, due (absent: at once), deadline_at, token (0: no lease could be had), owner,
--           attempts, free, maybe, spent, paid, why, history (absent: nothing new)}; or, for a message whose call runs elsewhere, of {id, service,
--           message, due, owner, maybe, copy: how often the message says that it was parked}
--   forget  a list of {id, service, token}: parked by an earlier run whose answer never arrived, and ended since
-- Returns JSON: a list of 1 (parked) or 0 (the call belongs to another by now), one for each of `calls`.
--
-- Keys and fields: gateway/fleet_keys.py, gateway/records.py.

local asked = cjson.decode(ARGV[1])
local now = asked.now
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function seconds(value)
  return string.format('%.6f', value)
end

local function put(call, member, due, deadline, parks)
  redis.call('ZADD', 'gateway:parked:' .. call.service, seconds(due), member)
  redis.call('ZADD', 'gateway:parked-deadlines:' .. call.service, deadline, member)
  -- As text: cjson would change the message on its way through (empty lists, large numbers).
  redis.call('HSET', 'gateway:parked-messages:' .. call.service, member,
    '{"parks":' .. parks .. ',"maybe":' .. call.maybe .. ',' .. string.sub(call.message, 2))
  redis.call('SADD', 'gateway:services', call.service)
end

local function park(call)
  if call.copy then
    -- Nothing of the call is touched; the message only comes again.
    put(call, call.id .. '~' .. call.owner, call.due, seconds(call.due), call.copy)
    return 1
  end
  local key = 'gateway:call:' .. call.id
  local record = redis.call('HMGET', key, 'lease', 'state', 'lease_until', 'owner', 'paid')
  -- By its name too: a worker that did not get the answer to its question does not know its token.
  local mine = tonumber(record[1] or 0) == call.token or record[4] == call.owner
  local state = 'parked'
  -- Its worker could not ask for a lease, and nobody has one.
  local is_free = not mine and call.token == 0 and record[2] ~= 'parked' and tonumber(record[3] or 0) <= now
  if is_free then
    mine = true
    redis.call('HINCRBY', key, 'lease', 1)
  end
  if mine and call.token == 0 then
    -- It had no answer, so it cannot know what the one before it began. Whoever gets the call next learns that an attempt
    -- was cut off, and not only that the call was parked.
    local before = redis.call('HMGET', key, 'maybe', 'open', 'attempts', 'interrupted')
    local is_cut = before[4] == '1' or (is_free and tonumber(before[2] or 0) > 0)
    if before[1] == '1' then call.maybe = 1 end
    if record[2] == 'running' and is_cut then call.maybe, state = 1, 'running' end
    call.attempts = math.max(call.attempts, tonumber(before[3] or 0))
  end
  if not mine and not record[1] and redis.call('EXISTS', key) == 0 then
    -- Records live longer than calls: this server has lost its data, and nobody else has the call.
    mine = true
    redis.call('HSET', key, 'lease', call.token)
  end
  if not mine then return 0 end
  local cancelled = record[2] == 'cancelled'
  local parks = redis.call('HINCRBY', key, 'parks', 1)
  redis.call('HSET', key,
    'state', cancelled and 'cancelled' or state, 'lease_until', 0, 'owner', '',
    'attempts', call.attempts, 'free', call.free, 'maybe', call.maybe, 'spent', seconds(call.spent),
    'paid', math.max(call.paid, tonumber(record[5] or 0)), 'why', call.why, 'service', call.service,
    'deadline_at', seconds(call.deadline_at))
  redis.call('EXPIREAT', key, math.ceil(call.deadline_at + asked.ttl))
  if call.history then
    -- JSON arrays, of which the last parkings' are kept: an outage can go on for long.
    local known = redis.call('HGET', key, 'history')
    if known and #known < 10000 then
      redis.call('HSET', key, 'history', string.sub(known, 1, -2) .. ',' .. string.sub(call.history, 2))
    else
      redis.call('HSET', key, 'history', call.history)
    end
  end
  -- Deadline 0: it leaves at once, and its worker says that it was cancelled.
  put(call, call.id, call.due or now, cancelled and 0 or seconds(call.deadline_at), parks)
  return 1
end

for _, gone in ipairs(asked.forget or {}) do
  local key = 'gateway:call:' .. gone.id
  local record = redis.call('HMGET', key, 'lease', 'state')
  if tonumber(record[1] or 0) == gone.token and record[2] == 'parked'
    and redis.call('ZREM', 'gateway:parked:' .. gone.service, gone.id) == 1 then
    redis.call('ZREM', 'gateway:parked-deadlines:' .. gone.service, gone.id)
    redis.call('HDEL', 'gateway:parked-messages:' .. gone.service, gone.id)
    -- The message that it had before is the call's again: should its worker end before it can tell the outcome, that one
    -- comes again, and must not be taken for one that was parked.
    redis.call('HINCRBY', key, 'parks', -1)
    redis.call('HSET', key, 'state', 'pending')
  end
end

local answers = {}
for index, call in ipairs(asked.calls) do answers[index] = park(call) end
return cjson.encode(answers)
