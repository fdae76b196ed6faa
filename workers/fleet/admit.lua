-- May these attempts be sent now? One run answers for all attempts that ask in the same moment.
--
-- ARGV[1], JSON: {
--   now: Unix seconds, or 0 for this server's clock;  worker: name;  lease_s;  expires_s: a record's life;
--   most_deaths: workers that may end while they have an attempt of a call on the wire; a call that ended two goes
--   while no other such call does, so that the one which ends them takes none with it;
--   results: prefix of the keys of results;
--   services: {name: {interval, burst, concurrency, adaptive, breaker, probes, share, per_s}};
--   asks: [[id, service, number, token, owner, parks, left_s, patience_s, hedge, life_s, recorded,
--          caller]]
-- }
-- number: of the attempt to be started; token: of the lease, 0 for who has none yet; owner: names the
-- one execution that asks, so that it finds its own lease again when an answer was lost; parks: how often the message says
-- that it was parked; left_s: until the deadline; patience_s: how long the worker would wait by itself; life_s: how long
-- the attempt can take at most; recorded: the message comes again, and its producer had made a record of the call;
-- caller: who signed it, empty if nobody has to: a call is its producer's, whoever else signs a message with its id.
--
-- Returns JSON: {now, answers: [[...]], services: {service: [phase, until, concurrency]}}. An answer is one of
--   ["go", token, number, wait_s, probe, in_flight, interrupted, free, maybe, spent]
--   ["hold", token, number, why, estimate_s, due_s, interrupted, free, maybe, spent]   -1: not known, or a gate decides
--   ["late", token, number, why, interrupted, free, maybe, spent]                       its deadline has passed
--   ["poison", token, number, deaths]                                                   it ended too many workers
--   ["elsewhere", seconds]   ["drop", why]   ["cancelled", maybe, attempts]
-- The names of the keys are described in gateway/fleet_keys.py, the record's fields in gateway/records.py. The rules of
-- rate, budget and breaker are those of workers/resilience/, which a test holds against each other.

local request = cjson.decode(ARGV[1])
local now = request.now
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local call = redis.call
local BUDGET_MOST, QUARANTINE_S, DEATHS_MOST, SUSPECT_DEATHS = 100, 1, 10, 2

local states = {}

local function read(name)
  local state = states[name]
  if state then return state end
  local policy = request.services[name]
  state = {policy = policy, name = name}
  if policy.breaker then
    local b = call('HMGET', 'gateway:breaker:' .. name, 'phase', 'until', 'epoch', 'granted')
    state.phase = b[1] or 'closed'
    state.till = b[2] == 'inf' and math.huge or tonumber(b[2] or '0')
    state.epoch = tonumber(b[3] or '0')
    state.granted = tonumber(b[4] or '0')
  else
    state.phase, state.till = 'closed', 0
  end
  local paused = call('HGET', 'gateway:paused:' .. name, 'until')
  state.paused = paused == 'inf' and math.huge or tonumber(paused or '0')
  local l = call('HMGET', 'gateway:limit:' .. name, 'tat', 'blocked_until', 'adaptive')
  state.tat = tonumber(l[1] or '0')
  state.blocked = tonumber(l[2] or '0')
  state.concurrency = policy.concurrency
  if policy.adaptive and l[3] then
    state.concurrency = math.max(1, math.min(policy.concurrency, math.floor(tonumber(l[3]))))
  end
  call('ZREMRANGEBYSCORE', 'gateway:inflight:' .. name, '-inf', now)
  state.in_flight = call('ZCARD', 'gateway:inflight:' .. name)
  local b = call('HMGET', 'gateway:budget:' .. name, 'tokens', 'at')
  state.tokens = tonumber(b[1] or policy.per_s)
  state.tokens = math.min(BUDGET_MOST, state.tokens + policy.per_s * math.max(0, now - tonumber(b[2] or now)))
  if policy.interval > 0 then
    state.backlog = call('ZCOUNT', 'gateway:parked:' .. name, '-inf', now)
  end
  states[name] = state
  return state
end

-- The breaker: nil if the attempt may go, else how long it is open at least (-1: not known). Second: whether as a probe.
local function ask_breaker(state, hedge)
  if state.phase == 'closed' then return nil, 0 end
  if state.phase == 'open' then
    if now < state.till then
      return state.till == math.huge and -1 or state.till - now, 0
    end
    state.phase, state.granted, state.epoch, state.breaker_changed = 'half-open', 0, state.epoch + 1, true
    call('DEL', 'gateway:probes:' .. state.name)
    call('HSET', 'gateway:breaker:' .. state.name, 'successes', 0)
  end
  if state.granted > 0 then
    -- A probe that never reported, since its worker died, gives its place back.
    local dead = call('ZREMRANGEBYSCORE', 'gateway:probes:' .. state.name, '-inf', now)
    if dead > 0 then
      state.granted, state.breaker_changed = math.max(0, state.granted - dead), true
    end
  end
  if hedge or state.granted >= state.policy.probes then return -1, 0 end
  return nil, 1
end

local function answer(ask)
  local id, name, number, token, owner, parks, left, patience, hedge, life, recorded, caller = unpack(ask)
  caller = caller or ''
  local state = read(name)
  local policy = state.policy
  local key = 'gateway:call:' .. id
  local r = call('HMGET', key, 'state', 'lease', 'lease_until', 'attempts', 'parks', 'open', 'free', 'maybe', 'spent',
    'paid', 'why', 'owner', 'interrupted', 'deaths', 'alone', 'poison', 'caller')
  local free, maybe, spent = tonumber(r[7] or '0'), tonumber(r[8] or '0'), tonumber(r[9] or '0')
  local paid, deaths = tonumber(r[10] or '0'), tonumber(r[14] or '0')
  local interrupted = 0
  local mine = r[12] == owner
  if caller ~= '' and r[17] and r[17] ~= caller then return {'drop', 'its id is that of another caller\'s call'} end
  -- Also without a lease: a worker that could not ask for one may have sent it.
  if token == 0 and not mine and call('EXISTS', request.results .. id) == 1 then return {'drop', 'it has its outcome'} end
  if token == 0 and r[2] and not mine then
    -- Cancelled or not: who has it tells what became of it.
    local lease_until = tonumber(r[3] or '0')
    if lease_until > now then return {'elsewhere', lease_until - now} end
    if tonumber(r[5] or '0') > parks then return {'drop', 'it was parked, and is elsewhere by now'} end
    if tonumber(r[6] or '0') > 0 then
      -- Of one that was parked, the record says itself whether it may have been sent.
      if r[1] == 'running' then interrupted = 1 elseif r[1] == 'cancelled' then maybe = 1 end
    end
  end
  if recorded and token == 0 and not r[1] and not r[2] and call('EXISTS', key) == 0 then
    -- Records live longer than calls, so this server has lost its data. Where the message was before, it may have been sent.
    interrupted = 1
  end
  if r[1] == 'cancelled' then return {'cancelled', maybe, tonumber(r[4] or '0')} end
  if token == 0 and mine then
    -- Its own question, whose answer was lost, with what it said of the owner before.
    token, number = tonumber(r[2]), math.max(number, tonumber(r[4] or '0') + 1)
    interrupted = tonumber(r[13] or '0')
    -- Not from what the record says of deaths: its own attempt, if it was let go, has changed that.
    if tonumber(r[16] or '-1') == token then return {'poison', token, number, deaths} end
  elseif token == 0 or not r[2] then
    -- A record that is gone: records live longer than calls, so this server has lost its data.
    if token == 0 then number = math.max(number, tonumber(r[4] or '0') + 1) end
    -- Higher than any that it gave before, if it forgot.
    token = call('HINCRBY', key, 'lease', token + 1)
    call('HSET', key, 'state', 'running', 'worker', request.worker, 'service', name, 'owner', owner,
      'lease_until', string.format('%.3f', now + request.lease_s), 'interrupted', interrupted)
    if caller ~= '' then call('HSET', key, 'caller', caller) end
    call('HSETNX', key, 'deadline_at', string.format('%.3f', now + left))
    call('EXPIRE', key, math.ceil(request.expires_s + math.max(0, left)))
    if interrupted == 1 then
      -- Whoever comes after this one, should it end before it has an outcome, learns it too.
      if not r[6] then call('HSET', key, 'open', 1) end
      deaths = call('HINCRBY', key, 'deaths', 1)
      -- One that was not alone may have been beside the cause, or had its answer already.
      local cause = tonumber(r[15] or '0') > 0
      if deaths >= request.most_deaths and (cause or deaths >= DEATHS_MOST) then
        call('HSET', key, 'poison', token)
        return {'poison', token, number, deaths}
      end
    end
  elseif tonumber(r[2]) ~= token then
    return {'drop', 'another worker took it over'}
  end
  if left <= 0 then
    local why = ''
    if r[1] == 'parked' then
      -- What stands in its way now counts more than what it was parked for.
      why = state.paused > now and 'paused' or state.phase ~= 'closed' and 'breaker' or state.blocked > now and 'limit' or r[11] or ''
    end
    return {'late', token, number, why, interrupted, free, maybe, tostring(spent)}
  end

  local function hold(why, estimate, due)
    return {'hold', token, number, why, tostring(estimate), tostring(due), interrupted, free, maybe, tostring(spent)}
  end

  local member = id .. '#' .. number
  local suspect = deaths >= math.max(1, math.min(SUSPECT_DEATHS, request.most_deaths - 1))
  if suspect then
    if hedge then return hold('budget', -1, -1) end
    local other = call('GET', 'gateway:suspect')
    local holder = other and string.match(other, '^(.*)#')
    if holder and holder ~= id then
      -- Its worker may have ended: then it has no lease.
      local lease_until = call('HGET', 'gateway:call:' .. holder, 'lease_until')
      if tonumber(lease_until or '0') > now then return hold('quarantine', -1, QUARANTINE_S) end
    end
  end

  -- Before the breaker, which goes on from where it is: a probe that is due would not be sent.
  if state.paused > now then
    return hold('paused', state.paused == math.huge and -1 or state.paused - now, -1)
  end
  local open_s, probe = ask_breaker(state, hedge)
  if open_s then return hold('breaker', open_s, -1) end
  if state.blocked > now then return hold('limit', state.blocked - now, -1) end
  if policy.interval > 0 and parks == 0 and state.backlog > 0 then
    -- Who came first goes first.
    return hold('limit', math.max(0, state.tat - now) + state.backlog * policy.interval, -1)
  end
  if state.in_flight >= state.concurrency then return hold('concurrency', -1, -1) end
  local wait = 0
  if policy.interval > 0 then
    wait = math.max(0, math.max(state.tat, now) - (policy.burst - 1) * policy.interval - now)
    if wait > patience then return hold('limit', wait, -1) end
  end
  if hedge then
    if state.tokens < 1 or wait > 0 then return hold('budget', -1, -1) end
    state.tokens, state.budget_changed = state.tokens - 1, true
  elseif number > 1 and paid ~= number then
    local promised = 0
    if state.tokens < 1 then
      if policy.per_s == 0 then return hold('budget', -1, -1) end
      promised = (1 - state.tokens) / policy.per_s
      if promised > left then return hold('budget', promised, -1) end
    end
    state.tokens, state.budget_changed = state.tokens - 1, true
    call('HSET', key, 'paid', number)
    if promised > patience then return hold('budget', promised, promised) end
    wait = math.max(wait, promised)
  elseif number == 1 then
    state.tokens, state.budget_changed = math.min(BUDGET_MOST, state.tokens + policy.share), true
  end

  if suspect then
    call('SET', 'gateway:suspect', member, 'EX', math.ceil(wait + life))
    call('HSET', key, 'alone', number)
  end
  local dead_at = string.format('%.3f', now + wait + life)
  if policy.interval > 0 then
    state.tat, state.limit_changed = math.max(state.tat, now) + policy.interval, true
  end
  -- The sets end with their last member, should nobody ask again.
  local outlives = math.ceil(wait + life) + 60
  call('ZADD', 'gateway:inflight:' .. name, dead_at, member)
  call('EXPIRE', 'gateway:inflight:' .. name, outlives)
  state.in_flight = state.in_flight + 1
  if probe == 1 then
    state.granted, state.breaker_changed = state.granted + 1, true
    call('ZADD', 'gateway:probes:' .. name, dead_at, member)
    call('EXPIRE', 'gateway:probes:' .. name, outlives)
  end
  call('HSET', key, 'attempts', number, 'open', number)
  return {'go', token, number, tostring(wait), probe, state.in_flight, interrupted, free, maybe, tostring(spent)}
end

local answers = {}
for i, ask in ipairs(request.asks) do answers[i] = answer(ask) end

local services = {}
for name, state in pairs(states) do
  if state.breaker_changed then
    call('HSET', 'gateway:breaker:' .. name, 'phase', state.phase, 'granted', state.granted, 'epoch', state.epoch)
  end
  if state.limit_changed then
    call('HSET', 'gateway:limit:' .. name, 'tat', string.format('%.6f', state.tat))
  end
  if state.budget_changed then
    call('HSET', 'gateway:budget:' .. name, 'tokens', string.format('%.6f', state.tokens),
      'at', string.format('%.6f', now))
    call('SADD', 'gateway:services', name)
  end
  local till = state.till == math.huge and 'inf' or string.format('%.6f', state.till)
  services[name] = {state.phase, till, state.concurrency}
end
return cjson.encode({now = string.format('%.6f', now), answers = answers, services = services})
