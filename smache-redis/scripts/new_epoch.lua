-- random epoch
call('HSET', PREFIX .. 'v', 'e', ARGV[2])
ask_for_sweep()
return 1
