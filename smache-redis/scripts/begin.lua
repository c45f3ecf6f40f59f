-- id, token, lease, random epoch
-- → 0, remaining | 1, start_revision, now, validity, header and flags, call, conflicts, pending, used
local id, token, lease, epoch = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]

local run = call('HGET', PREFIX .. 'run', id)
local mine = run and string.sub(run, 1, 16) == token
if run and not mine then
    local ends = tonumber(call('ZSCORE', PREFIX .. 'run:l', id) or '0')
    if ends > NOW then return { 0, ends - NOW } end
end
local record = call('HMGET', record_key(id), 'h', 's', 'm', 'v', 'k', 'n', 'u')

-- A retry of the same attempt keeps its revision, since changes after the first try conflict, and its notes of waits.
local start_revision = mine and from_u64(run, 17) or tonumber(call('HGET', PREFIX .. 'c', 'k') or '0')
call('HSET', PREFIX .. 'run', id, token .. u64(start_revision) .. (mine and string.sub(run, 25) or ''))
call('ZADD', PREFIX .. 'run:l', int(NOW + lease), id)
call('ZADD', PREFIX .. 'run:s', int(start_revision), id)
call('HSETNX', PREFIX .. 'v', 'e', epoch)

local pending = 0
local used = record[7]
if used and call('EXISTS', PREFIX .. 'm') == 1 then
    for at = 1, #used - USED + 1, USED do
        if call('HEXISTS', PREFIX .. 'm', string.sub(used, at, at + 15)) == 1 then
            pending = 1
            break
        end
    end
end
return {
    1, start_revision, NOW, call('HGETALL', PREFIX .. 'v'), { record[1], record[2], record[3], record[4] }, record[5],
    count_of(record[6]), pending, used,
}
