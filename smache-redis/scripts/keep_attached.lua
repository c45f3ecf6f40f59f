-- for how long to confirm: nothing happens to a namespace without an epoch, which has nothing to confirm
local validity = PREFIX .. 'v'
if call('HEXISTS', validity, 'e') == 0 and call('HLEN', validity) == 0 then return 1 end
call('HSET', validity, 'a', u64(NOW + tonumber(ARGV[1])))
return 1
