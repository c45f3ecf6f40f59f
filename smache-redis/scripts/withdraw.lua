-- (mark, its deadline when it was read) each → how many are withdrawn
--
-- A mark is a dependency and the name of an attempt. One with another deadline now was renewed by its author.
local marks, deadlines = PREFIX .. 'm', PREFIX .. 'md'
local withdrawn = 0
for at = 2, #ARGV, 2 do
    local mark = ARGV[at]
    local deadline = call('ZSCORE', deadlines, mark)
    if deadline and tonumber(deadline) == tonumber(ARGV[at + 1]) then
        local dependency, nonce = string.sub(mark, 1, 16), string.sub(mark, 17)
        local nonces, left = call('HGET', marks, dependency) or '', ''
        for place = 1, #nonces, 16 do
            local other = string.sub(nonces, place, place + 15)
            if other ~= nonce then left = left .. other end
        end
        if left == '' then call('HDEL', marks, dependency) else call('HSET', marks, dependency, left) end
        call('ZREM', deadlines, mark)
        withdrawn = withdrawn + 1
    end
end
return withdrawn
