-- What became of these attempts, and what a worker learned from them.
--
-- ARGV[1], JSON: {
--   now: Unix seconds, or 0 for this server's clock;  worker: name;
--   services: {name: {reset_s, threshold}};
--   ends: [[id, service, number, token, health, probe, over, maybe, limited, unused]];
--   trips: [[service, reason]];  blocks: [[service, retry_after_s or -1]];  adaptive: [[service, concurrency]]
-- }
-- health: "good", "bad", "neutral"; over: this worker gives the call back without an outcome;
-- maybe: the service may have acted on the attempt. limited: the service said that it is asked too often;
-- unused: it was paid for and not sent, and the retry budget has its token back;
-- number 0 stands for a call, and not for an attempt.
--
-- Returns JSON: {now, services: {service: [phase, until, 0]}}.

local request = cjson.decode(ARGV[1])
local now = request.now
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local call = redis.call
local PENALTY_FIRST, PENALTY_MOST, BLOCK_MOST = 0.5, 30, 300

local function stamp(seconds) return string.format('%.6f', seconds) end

local function open(name, reason)
  local key = 'gateway:breaker:' .. name
  call('HINCRBY', key, 'epoch', 1)
  call('HINCRBY', key, 'trips', 1)
  call('HSET', key, 'phase', 'open', 'until', stamp(now + request.services[name].reset_s), 'opened_at', stamp(now),
    'granted', 0, 'successes', 0, 'reason', reason, 'by', request.worker)
  call('DEL', 'gateway:probes:' .. name)
  call('SADD', 'gateway:services', name)
end

local function close(name)
  local key = 'gateway:breaker:' .. name
  call('HINCRBY', key, 'epoch', 1)
  call('HSET', key, 'phase', 'closed', 'closed_at', stamp(now), 'granted', 0, 'successes', 0)
  call('DEL', 'gateway:probes:' .. name)
end

local function probe_ended(name, member, health)
  -- One that counts as dead, or is of an earlier half-open phase, has no place any more.
  if call('ZREM', 'gateway:probes:' .. name, member) == 0 then return end
  local key = 'gateway:breaker:' .. name
  if health == 'neutral' then
    call('HINCRBY', key, 'granted', -1)
  elseif health == 'bad' then
    open(name, 'a probe failed')
  elseif call('HINCRBY', key, 'successes', 1) >= request.services[name].threshold then
    close(name)
  end
end

local seen, good = {}, {}
local suspect = #request.ends > 0 and call('GET', 'gateway:suspect')
for _, item in ipairs(request.ends) do
  local id, name, number, token, health, probe, over, maybe, limited, unused = unpack(item)
  seen[name] = true
  local undone = number > 0 and not maybe and (health ~= 'good' or limited)
  if number > 0 then
    local member = id .. '#' .. number
    call('ZREM', 'gateway:inflight:' .. name, member)
    if member == suspect then
      call('DEL', 'gateway:suspect')
      if call('EXISTS', 'gateway:call:' .. id) == 1 then call('HSET', 'gateway:call:' .. id, 'alone', 0) end
    end
    if probe then probe_ended(name, member, health) end
    if unused then call('HINCRBYFLOAT', 'gateway:budget:' .. name, 'tokens', 1) end
    if health == 'good' and not limited then good[name] = true end
  end
  -- `open` stays after an answer: if this worker dies before the outcome is stored, nobody can tell it from one
  -- that died with the attempt on the wire.
  if token > 0 and (over or maybe or undone) then
    local key = 'gateway:call:' .. id
    local r = call('HMGET', key, 'lease', 'open')
    if tonumber(r[1] or '0') == token then
      if maybe then call('HSET', key, 'maybe', 1) end
      if over then call('HSET', key, 'lease_until', 0) end
      if not maybe and (over or tonumber(r[2] or '0') == number) then call('HSET', key, 'open', 0) end
    end
  end
end

for _, trip in ipairs(request.trips) do
  local name, reason = unpack(trip)
  seen[name] = true
  -- One that comes late, from a worker that did not know yet, changes nothing.
  if (call('HGET', 'gateway:breaker:' .. name, 'phase') or 'closed') == 'closed' then open(name, reason) end
end

for _, block in ipairs(request.blocks) do
  local name, retry_after = unpack(block)
  local key = 'gateway:limit:' .. name
  local l = call('HMGET', key, 'blocked_until', 'penalty_s')
  local blocked, penalty = tonumber(l[1] or '0'), tonumber(l[2] or '0')
  if retry_after >= 0 then
    blocked = math.max(blocked, now + math.min(BLOCK_MOST, retry_after))
  else
    if now >= blocked then penalty = math.min(PENALTY_MOST, math.max(PENALTY_FIRST, 2 * penalty)) end
    blocked = math.max(blocked, now + penalty)
  end
  call('HSET', key, 'blocked_until', stamp(blocked), 'penalty_s', stamp(penalty))
  call('SADD', 'gateway:services', name)
end

for name in pairs(good) do
  local l = call('HMGET', 'gateway:limit:' .. name, 'blocked_until', 'penalty_s')
  local penalty = tonumber(l[2] or '0')
  if penalty > 0 and now >= tonumber(l[1] or '0') + penalty then
    call('HSET', 'gateway:limit:' .. name, 'penalty_s', 0)
  end
end

for _, found in ipairs(request.adaptive) do
  local name, concurrency = unpack(found)
  local key = 'gateway:limit:' .. name
  -- Each worker finds its own; one a second is taken, whoever comes first.
  if now - tonumber(call('HGET', key, 'adjusted_at') or '0') >= 1 then
    call('HSET', key, 'adaptive', concurrency, 'adjusted_at', stamp(now))
    call('SADD', 'gateway:services', name)
  end
end

local services = {}
for name in pairs(seen) do
  local b = call('HMGET', 'gateway:breaker:' .. name, 'phase', 'until')
  if b[1] then services[name] = {b[1], b[2] or '0', 0} end
end
return cjson.encode({now = stamp(now), services = services})
