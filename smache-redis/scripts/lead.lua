-- feed, holder, lease → 1, fence | 0, time until the leadership of another holder ends
local key, holder = PREFIX .. 'f:' .. ARGV[1], ARGV[2]
local feed = call('HMGET', key, 'n', 'h', 'u')
-- A damaged fence, or one that cannot grow, goes on at the time, which no fence reaches.
local fence, ends = whole_count(feed[1] or '0') or NOW, tonumber(feed[3] or '0') or 0
if feed[2] ~= holder then
    if feed[2] and ends > NOW then return { 0, ends - NOW } end
    fence = fence + 1
end
call('HSET', key, 'n', int(fence), 'h', holder, 'u', int(NOW + tonumber(ARGV[3])))
return { 1, fence }
