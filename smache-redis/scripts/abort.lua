-- id, token, failed, failure, delay → whether the token was held
local id, token = ARGV[2], ARGV[3]
local run = call('HGET', PREFIX .. 'run', id)
if not run or string.sub(run, 1, 16) ~= token then return 0 end
local key = record_key(id)
local there = call('HEXISTS', key, 'h') == 1
drop_run(id)
if there and ARGV[4] == '1' then
    call('HINCRBY', key, 'f', 1)
    call('HSET', key, 'l', u64(NOW) .. ARGV[5])
end
if there and JOBS then want_job_after_run(id, NOW + tonumber(ARGV[6])) end
finish_jobs()
return 1
