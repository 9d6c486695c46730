<?php
// phpredis, as sessions, caches and queues of PHP use it. Usage: php phpredis.php PORT
declare(strict_types=1);

function ok(string $name, bool $holds): void
{
    if (!$holds) {
        fwrite(STDERR, "$name: not so\n");
        exit(1);
    }
    echo "ok $name\n";
}

$port = (int) $argv[1];
$redis = new Redis();
$redis->connect('127.0.0.1', $port, 5.0, null, 0, 20.0);
$redis->select(0);
ok('start-up', $redis->get('golden:start') === false);
ok('ping', $redis->ping() === true);

$values = [];
for ($n = 0; $n < 200; $n++) {
    $values["php:$n"] = (string) $n;
}
ok('mset', $redis->mSet($values));
ok('mget', $redis->mGet(array_keys($values)) === array_values($values));
ok('del', $redis->del(array_keys($values)) === 200);

$pipeline = $redis->pipeline();
for ($n = 0; $n < 300; $n++) {
    $pipeline->set("php:p:$n", (string) $n)->get("php:p:$n");
}
$replies = $pipeline->exec();
ok('a pipeline', count($replies) === 600 && $replies[1] === '0' && $replies[599] === '299');

$exec = $redis->multi()->set('{php}:m', '1')->incr('{php}:m')->get('{php}:m')->exec();
ok('a transaction', $exec === [true, 2, '2']);
$redis->watch('php:watched');
$other = new Redis();
$other->connect('127.0.0.1', $port, 5.0, null, 0, 20.0);
$other->set('php:watched', 'theirs');
ok('a watched key that changes', $redis->multi()->set('php:watched', 'mine')->exec() === false);

$script = "return redis.call('incrby', KEYS[1], ARGV[1])";
$redis->del('php:script');
ok('eval', $redis->eval($script, ['php:script', '2'], 1) === 2);
ok('evalsha', $redis->evalSha(sha1($script), ['php:script', '3'], 1) === 5);

$redis->rPush('php:queue', 'job');
ok('blpop', $redis->blPop(['php:queue'], 5) === ['php:queue', 'job']);
ok('blpop that ends empty', $redis->blPop(['php:queue'], 1) === []);

$redis->hMSet('php:hash', ['a' => '1', 'b' => '2']);
ok('hash', $redis->hGetAll('php:hash') === ['a' => '1', 'b' => '2']);
$redis->zAdd('php:zset', 1.5, 'one');
ok('zset', $redis->zRange('php:zset', 0, -1, true) === ['one' => 1.5]);

$redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
$found = [];
$cursor = null;
while (($keys = $redis->scan($cursor, 'php:p:*', 50)) !== false) {
    foreach ($keys as $key) {
        $found[$key] = true;
    }
}
ok('scan', count($found) === 300);
ok('info', isset($redis->info()['redis_version']));
ok('errors', $redis->incr('php:hash') === false && str_starts_with((string) $redis->getLastError(), 'WRONGTYPE'));

// A child says something over and over until somebody hears it.
$child = pcntl_fork();
if ($child === 0) {
    $speaker = new Redis();
    $speaker->connect('127.0.0.1', $port, 5.0, null, 0, 20.0);
    for ($n = 0; $n < 2000 && $speaker->publish('php:channel', 'hello') === 0; $n++) {
        usleep(10000);
    }
    posix_kill(getmypid(), SIGKILL);
}
$heard = null;
$subscriber = new Redis();
$subscriber->connect('127.0.0.1', $port, 5.0, null, 0, 20.0);
try {
    $subscriber->subscribe(['php:channel'], function (Redis $redis, string $channel, string $text) use (&$heard): void {
        $heard = $text;
        // The only way out of subscribe() is an end of the connection.
        $redis->close();
    });
} catch (RedisException) {
}
pcntl_waitpid($child, $status);
ok('subscribe', $heard === 'hello');
