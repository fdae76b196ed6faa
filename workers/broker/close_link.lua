-- Ends a connection's right to claim, since the answer to a claim was lost: the command may still be on its way.
--
-- KEYS: claims. ARGV: consumer, link, seconds until this is forgotten.
-- Returns the tags of what was claimed over it.

local mine = KEYS[1] .. ':' .. ARGV[1]
redis.call('SADD', mine .. ':closed', ARGV[2])
redis.call('EXPIRE', mine .. ':closed', ARGV[3])
local found = {}
for _, tag in ipairs(redis.call('SMEMBERS', mine)) do
    local consumer, link = claim_of(KEYS[1], tag)
    if consumer == ARGV[1] and link == ARGV[2] then
        found[#found + 1] = tag
    end
end
return found
