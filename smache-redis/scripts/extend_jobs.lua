-- lease, then (id, token) each → whether each still holds
local ends, answers = int(NOW + tonumber(ARGV[1])), {}
for at = 2, #ARGV, 2 do
    local job = job_fields(ARGV[at], 's', 't')
    local holds = job[1] == 'r' and job[2] == ARGV[at + 1]
    if holds then call('ZADD', PREFIX .. 'q:r', ends, ARGV[at]) end
    answers[#answers + 1] = holds and 1 or 0
end
return answers
