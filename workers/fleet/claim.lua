-- The gate of parking: which parked calls go back to their queues now. Claims them; whoever claimed them publishes them
-- and then runs claimed.lua. A claim whose owner died ends by itself.
--
-- ARGV[1], JSON:
--   now       Unix seconds; absent: this server's clock
--   claim_s   how long a claim lasts at most
--   services  all that the asking worker knows, a list of {name, interval (seconds from one call to the next at the
--             service's rate; 0: no limit), concurrency, adaptive, breaker (whether it has one), probes}
-- Returns JSON: {claimed: [[service, id, parks, message, for_s], ...], parked: how many calls are parked, more: whether
-- some were left only because this answer is full}. for_s: seconds until the claim ends. `claimed` may be {}.
--
-- A call goes for one of two reasons. Through the gate: it is due, and breaker, block, concurrency, rate and ramp let
-- one more through; the oldest first. Or to its end: it was cancelled, its deadline is past, or comes before the gate
-- can open; its worker then says so, and it counts for nothing here.
--
-- Calls of services that `services` does not name go to their end alone, STRAY_S after their deadline: workers with
-- another catalogue may know the service, and come first.
--
-- Keys and fields: gateway/fleet_keys.py; beside these the ramp's hash has `released`, how many probes of the breaker
-- were let out or on their way, and `released_at`.

-- When a breaker has closed, or a block has ended, the t-th second after that lets out RAMP_BASE * RAMP_GROWTH^t calls a second: a service
-- that has just come back gets 14 parked calls in its first second, 58 in two, 1,000 in about six.
local RAMP_BASE, RAMP_GROWTH, RAMP_MOST = 10, 2, 2000
-- Calls that the ramp owes at most after a pause, in seconds of its rate: longer than an unparker sleeps.
local RAMP_OWED_S = 1
-- How far ahead of the service's rate calls are sent: their way through the broker.
local LOOK_AHEAD_S = 0.25
-- How long released probes are thought to be on their way.
local PROBE_ON_ITS_WAY_S = 1
-- How long a claim lasts at least: it ends with the call's deadline, so that a call whose unparker died then still ends
-- soon after it.
local LATE_CLAIM_S = 2
-- How long after its deadline a call ends whose service the asking worker does not know.
local STRAY_S = 0.5
-- How long the ramp's hash is kept, beyond the last turn that it gave away.
local RAMP_KEPT_S = 3600
-- Of one run and service, through the gate and to its end each; and of one run in all.
local MOST_CALLS, MOST_BYTES = 200, 4 * 1024 * 1024

local asked = cjson.decode(ARGV[1])
local now = asked.now
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local claimed, bytes, parked, more = {}, 0, 0, false

local function number(value, otherwise)
  if value == 'inf' then return math.huge end
  return tonumber(value or otherwise) or otherwise
end

local function stamp(seconds)
  return string.format('%.6f', seconds)
end

-- The deadline of a call, and whether it was cancelled. The sorted set does not know any more once it was claimed.
local function deadline_of(id)
  local record = redis.call('HMGET', 'gateway:call:' .. id, 'deadline_at', 'state')
  local original = string.match(id, '^(.+)~')
  if not record[1] and original then
    -- A copy of a message, which has no record, and whose call runs elsewhere.
    record = redis.call('HMGET', 'gateway:call:' .. original, 'deadline_at', 'state')
  end
  return number(record[1], 0), record[2] == 'cancelled'
end

-- When a claim of a call ends that is made now.
local function claim_end(id)
  return math.min(now + asked.claim_s, math.max(now + LATE_CLAIM_S, (deadline_of(id))))
end

-- Claim one call; false if there is no message of it.
local function claim(service, id)
  local message = redis.call('HGET', 'gateway:parked-messages:' .. service, id)
  if not message then
    redis.call('ZREM', 'gateway:parked:' .. service, id)
    redis.call('ZREM', 'gateway:parked-deadlines:' .. service, id)
    return false
  end
  local till = claim_end(id)
  -- The same time in both says that it is claimed.
  redis.call('ZADD', 'gateway:parked:' .. service, stamp(till), id)
  redis.call('ZADD', 'gateway:parked-deadlines:' .. service, stamp(till), id)
  bytes = bytes + #message
  local parks = tonumber(string.match(message, '^{"parks":(%d+)')) or 0
  claimed[#claimed + 1] = {service, id, parks, message, till - now}
  return true
end

local function is_full()
  if bytes < MOST_BYTES then return false end
  more = true
  return true
end

-- Those that need not wait for the gate, whose earliest opening is `opens`.
local function let_end(service, opens)
  local found = redis.call('ZRANGEBYSCORE', 'gateway:parked-deadlines:' .. service, '-inf',
    stamp(math.max(now, opens)), 'WITHSCORES', 'LIMIT', 0, 5 * MOST_CALLS)
  local ended = 0
  for index = 1, #found, 2 do
    if is_full() then return end
    if ended == MOST_CALLS then
      more = true
      return
    end
    local id, deadline = found[index], tonumber(found[index + 1])
    local due = tonumber(redis.call('ZSCORE', 'gateway:parked:' .. service, id) or 0)
    local is_claimed = due == deadline and deadline > now
    if not is_claimed and claim(service, id) then ended = ended + 1 end
  end
end

-- Those of a service that the asking worker does not know.
local function let_strays_end(service)
  local deadlines = 'gateway:parked-deadlines:' .. service
  -- Cancelled: from now on, in place of at once, for the same reason.
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', 0, 'LIMIT', 0, MOST_CALLS)) do
    redis.call('ZADD', deadlines, stamp(now), id)
  end
  local found = redis.call('ZRANGEBYSCORE', deadlines, '-inf', stamp(now - STRAY_S), 'LIMIT', 0, MOST_CALLS)
  for _, id in ipairs(found) do
    if is_full() then return end
    local deadline, is_cancelled = deadline_of(id)
    if is_cancelled or deadline <= now - STRAY_S then
      claim(service, id)
    else
      -- Its claim ended with its owner, or it is a copy.
      redis.call('ZADD', deadlines, stamp(deadline), id)
    end
  end
  if #found == MOST_CALLS then more = true end
end

-- How many the ramp lets out, and what to write down.
local function ramp_credit(closed_at, ramp)
  local owed_since = math.max(number(ramp.at, 0), closed_at)
  local from, to = owed_since - closed_at, now - closed_at
  if to < 0 then return 0 end
  local steep_until = math.log(RAMP_MOST / RAMP_BASE) / math.log(RAMP_GROWTH)
  -- The integral of the rate from one time to the other.
  local function let_out(t)
    local steep = math.min(t, steep_until)
    return RAMP_BASE * (RAMP_GROWTH ^ steep - 1) / math.log(RAMP_GROWTH) + RAMP_MOST * (t - steep)
  end
  local tokens = (number(ramp.at, 0) >= closed_at and number(ramp.tokens, 0) or 0)
    + let_out(to) - let_out(math.min(from, to))
  local rate = RAMP_BASE * RAMP_GROWTH ^ math.min(to, steep_until)
  return math.min(tokens, math.max(1, rate * RAMP_OWED_S))
end

local function let_through(service)
  local name = service.name
  local keys = {breaker = 'gateway:breaker:' .. name, limit = 'gateway:limit:' .. name, ramp = 'gateway:ramp:' .. name}
  local b = redis.call('HMGET', keys.breaker, 'phase', 'until', 'granted', 'closed_at')
  local l = redis.call('HMGET', keys.limit, 'blocked_until', 'adaptive')
  local r = redis.call('HMGET', keys.ramp, 'tokens', 'at', 'tat', 'released', 'released_at')
  local ramp = {tokens = r[1], at = r[2]}
  local phase = service.breaker and b[1] or 'closed'
  local till, blocked = number(b[2], 0), number(l[1], 0)

  local paused = number(redis.call('HGET', 'gateway:paused:' .. name, 'until'), 0)

  local is_open = phase == 'open' and now < till
  local opens = blocked
  if is_open and till < math.huge then opens = math.max(opens, till) end
  if paused < math.huge then opens = math.max(opens, paused) end
  let_end(name, opens)
  if is_open or blocked > now or paused > now then return end

  local limit = service.concurrency
  if service.adaptive and l[2] then
    limit = math.max(1, math.min(limit, math.floor(number(l[2], limit))))
  end
  local free = math.min(MOST_CALLS, limit - redis.call('ZCOUNT', 'gateway:inflight:' .. name, '(' .. now, '+inf'))

  local probing, granted = phase ~= 'closed', 0
  if probing then
    if phase == 'half-open' then
      -- Probes whose worker died never report: their places are free again.
      granted = math.max(0, number(b[3], 0) - redis.call('ZCOUNT', 'gateway:probes:' .. name, '-inf', now))
    end
    if now - number(r[5], 0) < PROBE_ON_ITS_WAY_S then granted = math.max(granted, number(r[4], 0)) end
    free = math.min(free, service.probes - granted)
  end

  local tat = math.max(number(r[3], 0), now)
  if service.interval > 0 then
    if tat > now + LOOK_AHEAD_S + service.interval then
      -- The interval was longer when it was written.
      tat = now + LOOK_AHEAD_S + service.interval
      redis.call('HSET', keys.ramp, 'tat', stamp(tat))
    end
    free = math.min(free, math.ceil((now + LOOK_AHEAD_S - tat) / service.interval))
  end

  local tokens
  if not probing then
    -- After a block of the service's own, and after a pause, too.
    tokens = ramp_credit(math.max(number(b[4], 0), blocked, paused), ramp)
    free = math.min(free, math.floor(tokens))
  end

  local released = 0
  if free > 0 then
    local due = redis.call('ZRANGEBYSCORE', 'gateway:parked:' .. name, '-inf', stamp(now), 'LIMIT', 0, free)
    for _, id in ipairs(due) do
      if is_full() then break end
      if claim(name, id) then released = released + 1 end
    end
    if released == MOST_CALLS then more = true end
  end

  if tokens then redis.call('HSET', keys.ramp, 'tokens', stamp(tokens - released), 'at', stamp(now)) end
  if released > 0 then
    if probing then redis.call('HSET', keys.ramp, 'released', granted + released, 'released_at', stamp(now)) end
    if service.interval > 0 then
      tat = tat + released * service.interval
      redis.call('HSET', keys.ramp, 'tat', stamp(tat))
    end
  end
  redis.call('EXPIRE', keys.ramp, math.ceil(math.max(0, tat - now) + RAMP_KEPT_S))
end

-- Every key of a service: gateway/fleet_keys.py.
local KINDS = {'breaker', 'paused', 'probes', 'limit', 'inflight', 'budget', 'ramp', 'parked', 'parked-deadlines',
  'parked-messages'}

local function is_anything_left(service)
  for _, kind in ipairs(KINDS) do
    if redis.call('EXISTS', 'gateway:' .. kind .. ':' .. service) == 1 then return true end
  end
  return false
end

local known = {}
for _, service in ipairs(asked.services) do
  known[service.name] = true
  local waiting = redis.call('ZCARD', 'gateway:parked:' .. service.name)
  parked = parked + waiting
  if waiting > 0 then let_through(service) end
end
for _, name in ipairs(redis.call('SMEMBERS', 'gateway:services')) do
  if not known[name] then
    local waiting = redis.call('ZCARD', 'gateway:parked-deadlines:' .. name)
    parked = parked + waiting
    if waiting > 0 then
      let_strays_end(name)
    elseif not is_anything_left(name) then
      redis.call('SREM', 'gateway:services', name)
    end
  end
end
return cjson.encode({claimed = claimed, parked = parked, more = more})
