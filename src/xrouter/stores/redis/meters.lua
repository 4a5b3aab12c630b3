-- Limits, all of one request at once. Money is kept by HINCRBY: exact beyond what a double holds.
-- Times are microseconds of this server's clock; starts and ends of windows are unix seconds.
--
-- For each limit two KEYS: its state, and who holds how much of it until when.
--   a rate:   state is the moment at which all of it is free again (GCRA); it has no holders
--   a count:  state is a hash: s, e the window, u what is held or used in it, h what is held of it
--   holders:  "<hold>|<amount>|<window>" -> until when
-- The last four KEYS: who is told of a hold's end (so that it ends once), the live processes, since
-- when this server knows what was spent (its era: one that has lost its memory does not know, and
-- begins another), and who tells it now.
--
-- ARGV: take, hold, lease, process, force, ways; for each limit: kind, limit, amount, b0, b1, b2, b3
--         -> refused (0 for none, -1 ended before, -2 nothing is known), wait, processes, now,
--            era, ways that are open; for each limit: remaining, reset, window. -1 for never;
--            remaining is below 0 where more was granted without this server than was left.
--            process: '' for one that grants nothing and does not count among them
--            force: take it whatever is left, unless it is taken already.
--            ways: '' for none; else how many are main, and of each which limits are its own:
--            '2:3,4;3,5;;'. As in domain/choices.py.
--       look, '', 0, '', 0, ''; as take                                         -> as take
--       end, hold, keep; for each limit: kind, limit, held, actual, window
--         -> 1 the first time, era, now; for each limit: remaining, window
--       renew; for each of KEYS but the last four: lease, the member of these holders
--         -> for each: 1 where it was there
--       seed, who; for each limit: amount, b0, b1, b2, b3          at least so much was spent
--       known, who                                                 -> 1 if nobody began after
local MINUTE = 60000000
local SECOND = 1000000
local DAY = 86400
local MARGIN_MS = 3600000
local ALIVE = 30 * SECOND
local time = redis.call('TIME')
local now = time[1] * SECOND + time[2]
local now_s = tonumber(time[1])
local what = ARGV[1]
local finished, alive, known, telling = KEYS[#KEYS - 3], KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS]
local limits = (#KEYS - 4) / 2

local function number(key)
  return tonumber(redis.call('GET', key) or 0)
end

local function window(i)
  local b = { tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]) }
  if b[2] == 0 then return 0, 0 end
  if now_s < b[2] then return b[1], b[2] end
  if now_s < b[3] then return b[2], b[3] end
  return b[3], b[4]
end

-- Begin the window of now, unless the clock was only set back a little. Returns s, e, u.
local function roll(state, holders, i)
  local starts, ends = window(i)
  local found = redis.call('HMGET', state, 's', 'e', 'u')
  local s = tonumber(found[1])
  if what == 'look' and (s == nil or s < starts) then return starts, ends, 0 end
  if s == nil or s < starts then
    redis.call('DEL', holders)
    redis.call('HSET', state, 's', starts, 'e', ends, 'u', 0, 'h', 0)
    if ends > 0 then redis.call('EXPIREAT', state, ends + DAY) end
    return starts, ends, 0
  end
  if s - starts > DAY then
    redis.call('HSET', state, 's', starts, 'e', ends)
    return starts, ends, tonumber(found[3])
  end
  return s, tonumber(found[2]) or ends, tonumber(found[3])
end

-- Free what is held for longer than its lease.
local function lapse(state, holders, s)
  local freed = false
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', holders, '-inf', now, 'LIMIT', 0, 100)) do
    local amount, of = string.match(member, '^[^|]*|(%d+)|(%d+)$')
    if tonumber(of) == s and amount ~= '0' then
      redis.call('HINCRBY', state, 'u', '-' .. amount)
      redis.call('HINCRBY', state, 'h', '-' .. amount)
      freed = true
    end
    redis.call('ZREM', holders, member)
  end
  return freed and tonumber(redis.call('HGET', state, 'u'))
end

local function text(n)
  return string.format('%.0f', n)
end

if what == 'renew' then
  local found = {}
  for n = 1, #KEYS - 4 do
    local lease, member = tonumber(ARGV[2 * n]), ARGV[2 * n + 1]
    found[n] = redis.call('ZSCORE', KEYS[n], member) and 1 or 0
    if found[n] == 1 then
      redis.call('ZADD', KEYS[n], now + lease, member)
      redis.call('PEXPIRE', KEYS[n], math.ceil(lease / 1000) + MARGIN_MS)
    end
  end
  return found
end

if what == 'known' then
  if redis.call('GET', telling) ~= ARGV[2] then return 0 end
  redis.call('SET', known, ARGV[2], 'NX')
  return 1
end

if what == 'seed' then
  redis.call('SET', telling, ARGV[2], 'PX', MARGIN_MS)
  for n = 1, limits do
    local i = 3 + (n - 1) * 5
    local s, _, u = roll(KEYS[2 * n - 1], KEYS[2 * n], i + 1)
    if s == (window(i + 1)) then
      local held = tonumber(redis.call('HGET', KEYS[2 * n - 1], 'h') or 0)
      local more = tonumber(ARGV[i]) - (u - held)
      if more > 0 then redis.call('HINCRBY', KEYS[2 * n - 1], 'u', text(more)) end
    end
  end
  return 1
end

if what == 'end' then
  local first = redis.call('SET', finished, 1, 'NX', 'PX', ARGV[3])
  local told = { first and 1 or 0, redis.call('GET', known) or '', now }
  for n = 1, first and limits or 0 do
    local state, holders, i = KEYS[2 * n - 1], KEYS[2 * n], 4 + (n - 1) * 5
    local held, actual, mark = ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    if ARGV[i] == 'rate' then
      local step = MINUTE / tonumber(ARGV[i + 1])
      local full, more = number(state), (tonumber(actual) - tonumber(held)) * step
      if more >= 0 then
        full = math.max(full, now) + more
      else
        full = full + math.max(more, -math.max(0, tonumber(mark) - now))
      end
      if full > now then
        redis.call('SET', state, text(full), 'PX', math.ceil((full - now) / 1000) + 1000)
      end
    else
      local s = redis.call('HGET', state, 's')
      local is_new = s and tonumber(s) < tonumber(mark) and tonumber(mark) <= now_s + 60
      if not s or is_new then  -- forgotten with this server's memory, or nobody has begun it
        redis.call('DEL', holders)
        redis.call('HDEL', state, 'e')
        redis.call('HSET', state, 's', mark, 'u', 0, 'h', 0)
        if mark ~= '0' then redis.call('EXPIRE', state, 40 * DAY) end
        s = mark
      end
      if redis.call('ZREM', holders, ARGV[2] .. '|' .. held .. '|' .. mark) == 0 then held = '0' end
      if s == mark then
        redis.call('HINCRBY', state, 'u', actual)
        if held ~= '0' then
          redis.call('HINCRBY', state, 'u', '-' .. held)
          redis.call('HINCRBY', state, 'h', '-' .. held)
        end
      end
    end
  end
  for n = 1, limits do
    local state, i = KEYS[2 * n - 1], 4 + (n - 1) * 5
    local found = ARGV[i] == 'rate' and { '0', '' } or redis.call('HMGET', state, 'u', 's')
    told[#told + 1] = text(tonumber(ARGV[i + 1]) - (tonumber(found[1]) or 0))
    told[#told + 1] = found[2] or ''
  end
  return told
end

local force = ARGV[5] == '1'
if what == 'take' and redis.call('EXISTS', finished) == 1 then return { -1 } end

local era = redis.call('GET', known) or ''
if what == 'take' then
  if ARGV[4] ~= '' then redis.call('ZADD', alive, now, ARGV[4]) end
  redis.call('ZREMRANGEBYSCORE', alive, '-inf', now - ALIVE)
  redis.call('PEXPIRE', alive, ALIVE / 1000)
end
local told = { 0, '0', redis.call('ZCARD', alive), now, era, '' }
if what == 'take' and not force and era == '' then told[1] = -2 end
local states, waits = {}, {}
local ways, own, main = {}, {}, tonumber(string.match(ARGV[6], '^%d+') or 0)
for way in string.gmatch(string.match(ARGV[6], ':(.*)') or '', '([^;]*);') do
  ways[#ways + 1] = {}
  for at in string.gmatch(way, '%d+') do
    table.insert(ways[#ways], tonumber(at))
    own[tonumber(at)] = true
  end
end

for n = 1, limits do
  local state, holders, i = KEYS[2 * n - 1], KEYS[2 * n], 7 + (n - 1) * 7
  local kind, limit, amount = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local least = math.max(amount, 1)
  local wait = 0
  if kind == 'rate' then
    local full = math.max(number(state), now)
    if least > limit then
      wait = -1
    else
      wait = math.max(0, full + least * MINUTE / limit - now - MINUTE)
    end
    states[n] = { full }
  else
    local s, e, u = roll(state, holders, i + 3)
    u = lapse(state, holders, s) or u
    if u + least > limit then
      if kind == 'now' then
        wait = SECOND
      elseif e > 0 and amount <= limit then
        wait = math.max(1, e * SECOND - now)
      else
        wait = -1
      end
    end
    states[n] = { s, e, u }
  end
  if wait ~= 0 and wait < 1 and wait > 0 then wait = 0 end
  waits[n] = wait < 0 and math.huge or wait
  if wait ~= 0 and told[1] == 0 and not own[n] and not force and what == 'take' then
    told[1], told[2] = n, text(wait)
  end
end

-- Of each way the limit that is longest in it; which ways are open, and what these need.
local opened, needed, firm, soonest = {}, {}, {}, nil
for w, way in ipairs(ways) do
  local longest
  for _, n in ipairs(way) do
    if not longest or waits[n] > waits[longest] then longest = n end
  end
  if not longest or waits[longest] == 0 then
    opened[#opened + 1] = w
    for _, n in ipairs(way) do
      needed[n] = true
      if #opened == 1 then firm[n] = true end
    end
  elseif w <= main and (not soonest or waits[longest] < waits[soonest]) then
    soonest = longest
  end
end
if told[1] == 0 and main > 0 and (opened[1] or main + 1) > main then
  told[1], told[2] = soonest, waits[soonest] == math.huge and '-1' or text(waits[soonest])
end
told[6] = table.concat(opened, ' ')

for n = 1, limits do
  local state, holders, i = KEYS[2 * n - 1], KEYS[2 * n], 7 + (n - 1) * 7
  local limit, amount = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local granted = what == 'take' and told[1] == 0 and (needed[n] or not own[n])
  if own[n] and not firm[n] and ARGV[i] ~= 'count' then granted = false end
  if ARGV[i] == 'rate' then
    local full = states[n][1]
    if granted and limit > 0 then
      full = full + amount * MINUTE / limit
      if full > now then
        redis.call('SET', state, text(full), 'PX', math.ceil((full - now) / 1000) + 1000)
      end
    end
    local left = math.floor((MINUTE - (full - now)) * limit / MINUTE + 0.000001)
    told[#told + 1] = text(math.max(0, left))
    told[#told + 1] = text(full - now)
    told[#told + 1] = text(full)
  else
    local s, e, u = states[n][1], states[n][2], states[n][3]
    if granted then
      local member = ARGV[2] .. '|' .. ARGV[i + 2] .. '|' .. text(s)
      if redis.call('ZADD', holders, 'NX', now + tonumber(ARGV[3]), member) == 1 then
        redis.call('HINCRBY', state, 'u', ARGV[i + 2])
        redis.call('HINCRBY', state, 'h', ARGV[i + 2])
        u = u + amount
      end
      redis.call('PEXPIRE', holders, math.ceil(tonumber(ARGV[3]) / 1000) + MARGIN_MS)
    end
    told[#told + 1] = text(limit - u)
    told[#told + 1] = ARGV[i] == 'now' and '0' or e == 0 and '-1' or text(math.max(0, e * SECOND - now))
    told[#told + 1] = text(s)
  end
end
return told
