-- Prepended to the scripts of the queue, behind lib.lua: a namespace of another layout is left alone. The scripts of the
-- store need not look: a store asks once, when it attaches its sources.
local layout = call('HGET', PREFIX .. 'c', 'l')
if layout and layout ~= LAYOUT then return other_layout(layout) end
