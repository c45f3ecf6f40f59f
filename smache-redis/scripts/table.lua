-- One write of a table: the entity and the line of the history are one step.
--
-- `e` is the hash of the entities by id, `log` the stream of the changes (k id, b before, a after, each only where there
-- is one), `i` the name of this table, made with its first use, `t` the last line that was forgotten.
-- ARGV: what (put, swap, remove, look), id, value, value that must be there (swap), lines kept, a name if there is none
-- → whether it was done, the value before, the name, the last line
local what, id, value, expected, kept, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local entities, log = PREFIX .. 'e', PREFIX .. 'log'
call('SET', PREFIX .. 'i', name, 'NX')

local before = what ~= 'look' and call('HGET', entities, id) or false
local done = true
if what == 'swap' and before ~= expected then done = false end
if what == 'remove' and not before then done = false end
if done and what ~= 'look' then
    local line = { 'k', id }
    if before then
        line[#line + 1] = 'b'
        line[#line + 1] = before
    end
    if what == 'remove' then
        call('HDEL', entities, id)
    else
        call('HSET', entities, id, value)
        line[#line + 1] = 'a'
        line[#line + 1] = value
    end
    call('XADD', log, '*', unpack(line))
    local surplus = call('XLEN', log) - kept
    if surplus > 0 then
        local forgotten = call('XRANGE', log, '-', '+', 'COUNT', surplus)
        call('SET', PREFIX .. 't', forgotten[#forgotten][1])
        call('XTRIM', log, 'MAXLEN', kept)
    end
end
local last = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
return { done and 1 or 0, before, call('GET', PREFIX .. 'i'), last and last[1] or '0-0' }
