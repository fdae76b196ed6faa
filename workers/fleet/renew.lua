-- Renews the leases of calls that still run.
--
-- ARGV[1], JSON: {now: Unix seconds or 0, lease_s, expires_s: a record's life, calls: [[id, token]]}. Returns JSON: the ids whose lease was lost.

local request = cjson.decode(ARGV[1])
local now = request.now
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local lost = {}
for _, item in ipairs(request.calls) do
  local id, token = unpack(item)
  local key = 'gateway:call:' .. id
  local lease, lease_until = unpack(redis.call('HMGET', key, 'lease', 'lease_until'))
  -- A record that is gone: this server has lost its data, and nobody else has the call. An attempt may be on the wire.
  if not lease then redis.call('HSET', key, 'lease', token, 'state', 'running', 'open', 1) end
  if not lease and request.expires_s then redis.call('EXPIRE', key, request.expires_s) end
  if lease and tonumber(lease) == token and tonumber(lease_until or '-1') == 0 then
    -- It was parked or given back since this was written: a lease would keep it from whoever gets it next.
  elseif not lease or tonumber(lease) == token then
    redis.call('HSET', key, 'lease_until', string.format('%.3f', now + request.lease_s))
  else
    lost[#lost + 1] = id
  end
end
if #lost == 0 then return '[]' end
return cjson.encode(lost)
