-- Looks for messages that were taken longer ago than the visibility timeout.
--
-- KEYS: unacked, its index, claims, consumers. ARGV: the visibility timeout in seconds, how many at most.
-- What a consumer has that lives stays with it. Returns the tags that nobody claimed in our way.

local unacked, index, claims, consumers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, unknown = seconds(), {}
local tags = redis.call('ZRANGE', index, '-inf', now - ARGV[1], 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[2]))
for _, tag in ipairs(tags) do
    local consumer = claim_of(claims, tag)
    if not consumer then
        unknown[#unknown + 1] = tag
    elseif redis.call('ZSCORE', consumers, consumer) then
        -- Looked at again when as much time has passed.
        redis.call('ZADD', index, now, tag)
    else
        give_back(unacked, index, claims, tag, 'died')
    end
end
return unknown
