-- id, token, failed, failure, delay → whether the token was held
local id, token = ARGV[2], ARGV[3]
local run = call('HGET', PREFIX .. 'run', id)
if not run or string.sub(run, 1, 16) ~= token then return 0 end
local key = record_key(id)
local record = fields_of(id, 'h', 'f')
local there = record and record[1]
drop_run(id)
if there and ARGV[4] == '1' then
    call('HSET', key, 'f', int(count_of(record[2]) + 1), 'l', u64(NOW) .. ARGV[5])
end
if there and JOBS then want_job_after_run(id, NOW + tonumber(ARGV[6])) end
finish_jobs()
return 1
