-- The dependencies that were invalidated after a revision, are being invalidated, or may have been.

local state = call('HMGET', PREFIX .. 'c', 'k', 'f')
local revision, low_watermark = tonumber(state[1] or '0'), tonumber(state[2] or '0')

-- Whether each of a list has changed.
local function changed_after(version, dependencies)
    local changed = {}
    if version < low_watermark then
        for at = 1, #dependencies do changed[at] = true end
        return changed
    end
    local function compare(key, command, is_changed)
        local at = 0
        in_pieces(dependencies, 1000, function(...)
            for place, answer in ipairs(call(command, key, ...)) do
                if is_changed(answer) then changed[at + place] = true end
            end
            at = at + select('#', ...)
        end)
    end
    if revision > version then
        compare(PREFIX .. 'n', 'ZMSCORE', function(at) return at and tonumber(at) > version end)
    end
    if call('EXISTS', PREFIX .. 'm') == 1 then
        compare(PREFIX .. 'm', 'HMGET', function(marks) return marks end)
    end
    return changed
end
