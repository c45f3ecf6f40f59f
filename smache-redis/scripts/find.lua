-- id → nothing, or (state, lane, at, errors, crashes, error)
local job = call('HMGET', job_key(ARGV[1]), 's', 'l', 'd', 'w', 'e', 'c', 'm')
local state, at = job[1], job[3]
if not state then return {} end
if state == 'r' then at = call('ZSCORE', PREFIX .. 'q:r', ARGV[1]) elseif state == 'b' then at = job[4] end
return { state, job[2], tonumber(at), tonumber(job[5] or '0'), tonumber(job[6] or '0'), job[7] }
