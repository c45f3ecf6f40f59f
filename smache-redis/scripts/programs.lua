-- id ('' for none), notes, lease, ids to remove … → time, whether the program was there, then id, until and notes of
-- each
local key = PREFIX .. 'o'
local known = 0
if ARGV[1] ~= '' then
    known = call('HEXISTS', key, ARGV[1])
    call('HSET', key, ARGV[1], u64(NOW + tonumber(ARGV[3])) .. ARGV[2])
end
for place = 4, #ARGV do
    local program = call('HGET', key, ARGV[place])
    if program and (#program < 8 or from_u64(program, 1) <= NOW) then call('HDEL', key, ARGV[place]) end
end
local answer = { NOW, known }
local all = call('HGETALL', key)
for place = 1, #all, 2 do
    local program = all[place + 1]
    if #program >= 8 then
        answer[#answer + 1] = all[place]
        answer[#answer + 1] = from_u64(program, 1)
        answer[#answer + 1] = program:sub(9)
    end
end
return answer
