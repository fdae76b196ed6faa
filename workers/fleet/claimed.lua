-- Takes calls out of parking whose message is published.
--
-- ARGV[1], JSON: a list of [service, id, parks], as claim.lua gave them.
-- Returns JSON: how many were taken out. One that was parked anew since stays.

local removed = 0
for _, claim in ipairs(cjson.decode(ARGV[1])) do
  local service, id, claimed_parks = claim[1], claim[2], claim[3]
  local parks = redis.call('HGET', 'gateway:call:' .. id, 'parks')
  if not parks or tonumber(parks) == claimed_parks then
    removed = removed + redis.call('ZREM', 'gateway:parked:' .. service, id)
    redis.call('ZREM', 'gateway:parked-deadlines:' .. service, id)
    redis.call('HDEL', 'gateway:parked-messages:' .. service, id)
  end
end
return cjson.encode(removed)
