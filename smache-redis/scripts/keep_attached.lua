-- how long to confirm: a namespace without an epoch has nothing to confirm, and stays unchanged
local validity = PREFIX .. 'v'
if call('HEXISTS', validity, 'e') == 0 and call('HLEN', validity) == 0 then return 1 end
call('HSET', validity, 'a', u64(NOW + tonumber(ARGV[1])))
return 1
