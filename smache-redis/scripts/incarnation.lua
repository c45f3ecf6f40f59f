-- random name → the name of these keys, which is new after they were emptied
if not layout then call('HSET', PREFIX .. 'c', 'l', LAYOUT) end
call('HSETNX', PREFIX .. 'c', 'q', ARGV[1])
return call('HGET', PREFIX .. 'c', 'q')
