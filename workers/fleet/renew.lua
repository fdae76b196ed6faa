-- Renews the leases of calls that still run.
--
-- ARGV[1], JSON: {now: Unix seconds or 0, lease_s, calls: [[id, token]]}. Returns JSON: the ids whose lease was lost.

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
  local lease = redis.call('HGET', key, 'lease')
  -- A record that is gone: this server has lost its data, and nobody else has the call.
  if not lease then redis.call('HSET', key, 'lease', token, 'state', 'running') end
  if not lease or tonumber(lease) == token then
    redis.call('HSET', key, 'lease_until', string.format('%.3f', now + request.lease_s))
  else
    lost[#lost + 1] = id
  end
end
if #lost == 0 then return '[]' end
return cjson.encode(lost)
