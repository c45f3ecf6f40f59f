-- for how long to vouch: nothing happens to a namespace without an epoch, which has nothing to vouch for
local vouch = PREFIX .. 'v'
if call('HEXISTS', vouch, 'e') == 0 and call('HLEN', vouch) == 0 then return 1 end
call('HSET', vouch, 'a', u64(NOW + tonumber(ARGV[1])))
return 1
