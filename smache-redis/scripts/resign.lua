-- feed, fence
local key = PREFIX .. 'f:' .. ARGV[1]
if call('HGET', key, 'n') == ARGV[2] then call('HSET', key, 'u', int(NOW)) end
return 1
