-- Tries of passwords and secrets, by all processes. Times are microseconds of this server's clock.
--
-- KEYS[1] tries: who -> "<how many>|<not before>"
-- KEYS[2] last:  who -> when they tried last; who has not for longest is forgotten first
-- KEYS[3] for `miss` alone: how often one has missed in this window
--
-- ARGV: enter, longest, forget, size; for each: who, how many are free
--         -> how long to wait; 0: it is let in, and counted for all of them
--       pass, who has a try back or '', who begin anew...
--       miss, window  -> how many there were in this window, and how long it lasts
local tries, last = KEYS[1], KEYS[2]
local SECOND = 1000000

local function drop(who)
  redis.call('HDEL', tries, who)
  redis.call('ZREM', last, who)
end

local function known(who)
  local found = redis.call('HGET', tries, who) or '0|0'
  local count, before = string.match(found, '^(-?%d+)|(%d+)$')
  return tonumber(count), tonumber(before)
end

local function keep(who, count, before)
  redis.call('HSET', tries, who, string.format('%.0f|%.0f', count, before))
end

if ARGV[1] == 'pass' then
  if ARGV[2] ~= '' and redis.call('HEXISTS', tries, ARGV[2]) == 1 then
    local count, before = known(ARGV[2])
    keep(ARGV[2], count - 1, before)
  end
  for i = 3, #ARGV do drop(ARGV[i]) end
  return 1
end

if ARGV[1] == 'miss' then
  local count = redis.call('INCR', KEYS[3])
  if count == 1 then redis.call('PEXPIRE', KEYS[3], math.ceil(ARGV[2] / 1000)) end
  return { count, math.max(0, redis.call('PTTL', KEYS[3])) * 1000 }
end

local time = redis.call('TIME')
local now = time[1] * SECOND + time[2]
local longest, forget, size = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
for _, who in ipairs(redis.call('ZRANGEBYSCORE', last, '-inf', now - forget, 'LIMIT', 0, 100)) do
  drop(who)
end
local wait = 0
for i = 5, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', last, ARGV[i]) or now) < now - forget then drop(ARGV[i]) end
  local _, before = known(ARGV[i])
  wait = math.max(wait, before - now)
end
if wait > 0 then return wait end
for i = 5, #ARGV, 2 do
  local count, before = known(ARGV[i])
  local over = count + 1 - tonumber(ARGV[i + 1])
  if over >= 0 then before = now + math.min(2 ^ math.min(over, 30) * SECOND, longest) end
  keep(ARGV[i], count + 1, before)
  redis.call('ZADD', last, now, ARGV[i])
end
while redis.call('ZCARD', last) > size do
  redis.call('HDEL', tries, redis.call('ZPOPMIN', last)[1])
end
redis.call('PEXPIRE', tries, math.ceil(forget / 1000))
redis.call('PEXPIRE', last, math.ceil(forget / 1000))
return 0
