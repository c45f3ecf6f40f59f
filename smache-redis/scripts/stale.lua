-- since, id (empty: from the start), limit → (id, since) each
return page_after(PREFIX .. 's', ARGV[1], ARGV[2], tonumber(ARGV[3]))
