-- Gives one message back as a dead consumer's, whoever has it. Returns 0 if nobody claimed it in our way.
--
-- KEYS: unacked, its index, claims. ARGV: its tag.

if not claim_of(KEYS[3], ARGV[1]) then
    return 0
end
give_back(KEYS[1], KEYS[2], KEYS[3], ARGV[1], 'died')
return 1
