-- id → nothing, or (state, lane, at, errors, crashes, error)
local job = job_fields(ARGV[1], 's', 'l', 'd', 'w', 'e', 'c', 'm')
local state, at = job[1], job[3]
if not state or not string.match(state, '^[qrb]$') then return {} end
local lane = line_of(job[2], nil)
if state == 'r' then at = call('ZSCORE', PREFIX .. 'q:r', ARGV[1]) elseif state == 'b' then at = job[4] end
return { state, lane, tonumber(at or '') or 0, tonumber(job[5] or '0') or 0, tonumber(job[6] or '0') or 0, job[7] }
