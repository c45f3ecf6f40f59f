-- state, last id (empty: from the start), limit → (id, at, error) each
local state, limit = ARGV[1], tonumber(ARGV[3])
local from = ARGV[2] == '' and '[' .. state or '(' .. state .. ARGV[2]
local jobs = {}
for _, member in ipairs(call('ZRANGEBYLEX', PREFIX .. 'q:i', from, '(' .. string.char(string.byte(state) + 1), 'LIMIT', 0, limit)) do
    local id = string.sub(member, 2)
    local job = job_fields(id, 'd', 'w', 'm')
    local at = job[1]
    if state == 'r' then at = call('ZSCORE', PREFIX .. 'q:r', id) elseif state == 'b' then at = job[2] end
    jobs[#jobs + 1] = { id, tonumber(at or '') or 0, job[3] }
end
return jobs
