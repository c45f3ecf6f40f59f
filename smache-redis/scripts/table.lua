-- One write of a table: one step for the entity and the line of the history.
--
-- `e` is the hash of the entities by id, `log` the stream of the changes (k id, b before, a after, each only if there
-- is one, p the place of the line before it), `end` the place of its last line, `i` the name of this table, created
-- with its first use, `t` the last trimmed line, `l` the layout. By p and `end` a reader notices lines that another
-- client has removed.
-- ARGV: what (put, swap, remove, look), id, value, value that must be there (swap), lines kept, a name if there is none
-- → whether it was done, the value before, and for look also the name, the last line and `end`
local what, id, value, expected, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local entities, log = PREFIX .. 'e', PREFIX .. 'log'

-- Reads keys of another type before it writes, since a script that fails halfway is not undone.
local name, layout = call('GET', PREFIX .. 'i'), call('GET', PREFIX .. 'l')
if layout and layout ~= LAYOUT then return other_layout(layout) end
local lines, ended = call('XLEN', log), call('GET', PREFIX .. 'end')
local before = what ~= 'look' and call('HGET', entities, id) or false
if not name then
    name = ARGV[6]
    call('SET', PREFIX .. 'i', name)
end
if not layout then call('SET', PREFIX .. 'l', LAYOUT) end
if what == 'look' then
    local last = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    return { 1, false, name, last and last[1] or '0-0', ended or '0-0' }
end
if what == 'swap' and before ~= expected then return { 0, before } end
-- No data has changed. The write still happens, so that a server that refuses writes says so.
if what ~= 'remove' and before == value then
    call('HSET', entities, id, value)
    return { 1, before }
end

-- First, since it needs no memory: a removal makes room on a full server. Also where there is nothing to remove, so
-- that a server that refuses writes says so.
if what == 'remove' then call('HDEL', entities, id) end
if what == 'remove' and not before then return { 0, before } end
local line = { 'k', id, 'p', ended or '0-0' }
if before then
    line[#line + 1] = 'b'
    line[#line + 1] = before
end
if what ~= 'remove' then
    line[#line + 1] = 'a'
    line[#line + 1] = value
end
local added = redis.pcall('XADD', log, '*', unpack(line))
if added.err then
    if what == 'remove' then call('HSET', entities, id, before) end
    return added
end
if what ~= 'remove' then call('HSET', entities, id, value) end
call('SET', PREFIX .. 'end', added)
-- A stream that was removed while the server's clock was set back goes on before its end: that is another history.
local function parts(place)
    local millis, number = string.match(place or '', '^(%d+)%-(%d+)$')
    return tonumber(millis) or 0, tonumber(number) or 0
end
local millis, number = parts(added)
local ended_millis, ended_number = parts(ended)
if millis < ended_millis or millis == ended_millis and number <= ended_number then
    call('SET', PREFIX .. 'i', ARGV[6])
    call('SET', PREFIX .. 't', '0-0')
end
local surplus = lines + 1 - kept
if surplus > 0 then
    local forgotten = call('XRANGE', log, '-', '+', 'COUNT', surplus)
    call('SET', PREFIX .. 't', forgotten[#forgotten][1])
    call('XTRIM', log, 'MAXLEN', kept)
end
return { 1, before }
