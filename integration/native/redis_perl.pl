#!/usr/bin/env perl
# Redis.pm. Usage: perl redis_perl.pl PORT
use strict;
use warnings;
use Redis;

sub ok {
    my ($name, $holds) = @_;
    die "$name: not so\n" unless $holds;
    print "ok $name\n";
}

my $port = shift;
my $redis = Redis->new(server => "127.0.0.1:$port", name => 'golden', read_timeout => 20, encoding => undef);
ok('start-up', !defined $redis->get('golden:start'));
ok('its name', $redis->client_getname eq 'golden');
my %values = map { ("pl:$_" => $_) } 0 .. 199;
$redis->mset(%values);
my @keys = sort keys %values;
ok('keys over all slots', join(',', $redis->mget(@keys)) eq join(',', @values{@keys}) && $redis->del(@keys) == 200);
my $sum = 0;
for my $n (1 .. 300) {
    $redis->set("pl:p:$n", $n, sub { });
    $redis->get("pl:p:$n", sub { $sum += $_[0] });
}
$redis->wait_all_responses;
ok('a pipeline', $sum == 300 * 301 / 2);
$redis->multi;
$redis->set('{pl}:m', 1);
$redis->incr('{pl}:m');
my @exec = $redis->exec;
ok('a transaction', "@exec" eq 'OK 2');
ok('a script', $redis->eval("return redis.call('incrby', KEYS[1], ARGV[1])", 1, 'pl:script', 2) >= 2);
$redis->rpush('pl:queue', 'job');
my @popped = $redis->blpop('pl:queue', 5);
ok('blpop', "@popped" eq 'pl:queue job');
$redis->hset('pl:hash', 'a', 1);
my %hash = $redis->hgetall('pl:hash');
ok('hash', $hash{a} == 1);
ok('errors', !eval { $redis->incr('pl:hash'); 1 } && $@ =~ /WRONGTYPE/);
ok('info', defined $redis->info->{redis_version});
my $heard;
my $subscriber = Redis->new(server => "127.0.0.1:$port", read_timeout => 20);
$subscriber->subscribe('pl:channel', sub { $heard = $_[0] });
$redis->publish('pl:channel', 'hello');
my $left = 200;
$subscriber->wait_for_messages(0.1) while !defined $heard && $left-- > 0;
ok('subscribe', $heard eq 'hello');
$redis->quit;
