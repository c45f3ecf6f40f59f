-- child, lease (0 ends the notes), then (run, token, child) each
-- → (run, child) of each wait that leads on from the child
--
-- The notes of a run follow its token and its revision, so they end with the run and cost other steps nothing: the
-- child, the token of the child's run, and the end of the note as eight bytes, the newest last.
local RUNS, NOTES_AT, NOTE = PREFIX .. 'run', 25, 48
local from, lease = ARGV[1], tonumber(ARGV[2])

local function token_of(id)
    local run = call('HGET', RUNS, id)
    return run and string.sub(run, 1, 16)
end

for at = 3, #ARGV, 3 do
    local id, token, child = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local run = call('HGET', RUNS, id)
    if run and string.sub(run, 1, 16) == token then
        local notes = {}
        for note = NOTES_AT, #run - NOTE + 1, NOTE do
            if string.sub(run, note, note + 23) ~= child and from_u64(run, note + 40) > NOW then
                notes[#notes + 1] = string.sub(run, note, note + NOTE - 1)
            end
        end
        local awaited = lease > 0 and token_of(child)
        if awaited then notes[#notes + 1] = child .. awaited .. u64(NOW + lease) end
        local kept = table.concat(notes, '', math.max(1, #notes - WAITS + 1))
        call('HSET', RUNS, id, string.sub(run, 1, NOTES_AT - 1) .. kept)
    end
end

local waits, runs = {}, 0
local seen, line, at = { [from] = true }, { from }, 1
while line[at] and runs < WAITS do
    local id, before = line[at], #waits
    local run = call('HGET', RUNS, id) or ''
    for note = NOTES_AT, #run - NOTE + 1, NOTE do
        local child = string.sub(run, note, note + 23)
        if from_u64(run, note + 40) > NOW and token_of(child) == string.sub(run, note + 24, note + 39) then
            waits[#waits + 1] = id
            waits[#waits + 1] = child
            if not seen[child] then
                seen[child] = true
                line[#line + 1] = child
            end
        end
    end
    if #waits > before then runs = runs + 1 end
    at = at + 1
end
return waits
