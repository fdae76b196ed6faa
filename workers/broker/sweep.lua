-- Gives back what consumers had that are dead.
--
-- KEYS: unacked, its index, claims, consumers, time of the last sweep.
-- ARGV: seconds of silence that mean death, seconds between two sweeps, how many messages at most.
-- Returns how many messages went back, and 1 if there are more.

local unacked, index, claims, consumers, swept = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local silence, interval, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = seconds()
local last = tonumber(redis.call('GET', swept) or 0)
if now >= last and now - last < interval / 2 then
    return {0, 0}
end
-- Refused where memory is short, as beats are: then nobody is dead.
redis.call('SET', swept, string.format('%.6f', now))

-- While nobody swept, nobody could beat either: the server was away, or its clock went. That was no silence.
local gap = now - last - 2 * interval
if gap > 0 or now < last then
    local found = redis.call('ZRANGE', consumers, 0, -1, 'WITHSCORES')
    for i = 1, #found, 2 do
        local beat = now < last and now or math.min(now, found[i + 1] + gap)
        redis.call('ZADD', consumers, beat, found[i])
    end
end

-- While this runs the server does nothing else.
local BYTES_MOST = 10000000
local given, bytes = 0, 0
local dead = redis.call('ZRANGE', consumers, '-inf', now - silence, 'BYSCORE', 'LIMIT', 0, 10)
for _, consumer in ipairs(dead) do
    local mine = claims .. ':' .. consumer
    local tags = given < most and redis.call('SRANDMEMBER', mine, most - given) or {}
    local when = {}
    for _, tag in ipairs(tags) do
        when[tag] = tonumber(redis.call('ZSCORE', index, tag) or 0)
    end
    -- The oldest last, which makes it the next.
    table.sort(tags, function(a, b) return when[a] > when[b] end)
    for _, tag in ipairs(tags) do
        if claim_of(claims, tag) == consumer then
            given = given + 1
            bytes = bytes + redis.call('HSTRLEN', unacked, tag)
            give_back(unacked, index, claims, tag, 'died')
            if bytes > BYTES_MOST then
                return {given, 1}
            end
        else
            redis.call('SREM', mine, tag)
        end
    end
    if redis.call('SCARD', mine) == 0 then
        redis.call('DEL', mine .. ':closed')
        redis.call('ZREM', consumers, consumer)
    end
end
return {given, given >= most and 1 or 0}
