/* hiredis, blocking, RESP2: the connection that many C programs and other languages' clients build on.
 * Usage: hiredis PORT. Prints `ok NAME` for each check; ends with 1 at the first that fails. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static redisContext *context;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, context->err ? context->errstr : "an unexpected reply");
    exit(1);
}

static void ok(const char *what, int holds) {
    if (!holds) fail(what);
    printf("ok %s\n", what);
}

static int is(redisReply *reply, int type, long long number, const char *text) {
    int same = reply != NULL && reply->type == type &&
               (type == REDIS_REPLY_INTEGER ? reply->integer == number : 1) &&
               (text == NULL || (reply->str != NULL && strcmp(reply->str, text) == 0));
    if (reply != NULL) freeReplyObject(reply);
    return same;
}

int main(int count, char **words) {
    struct timeval patience = {20, 0};
    int n, right = 0;
    redisReply *reply;
    if (count < 2) return 2;
    context = redisConnectWithTimeout("127.0.0.1", atoi(words[1]), patience);
    if (context == NULL || context->err) fail("connect");
    redisSetTimeout(context, patience);

    ok("start-up", is(redisCommand(context, "GET golden:start"), REDIS_REPLY_NIL, 0, NULL));
    ok("set", is(redisCommand(context, "SET hi:%s %b", "a", "b\0c", (size_t)3), REDIS_REPLY_STATUS, 0, "OK"));
    reply = redisCommand(context, "GET hi:a");
    ok("binary values", reply && reply->len == 3 && memcmp(reply->str, "b\0c", 3) == 0);
    freeReplyObject(reply);

    for (n = 0; n < 1000; n++) {
        redisAppendCommand(context, "SET hi:%d %d", n, n);
        redisAppendCommand(context, "GET hi:%d", n);
    }
    for (n = 0; n < 2000; n++) {
        void *one = NULL;
        if (redisGetReply(context, &one) != REDIS_OK) fail("a pipeline");
        reply = one;
        right += n % 2 == 0 ? reply->type == REDIS_REPLY_STATUS : reply->str && atoi(reply->str) == n / 2;
        freeReplyObject(reply);
    }
    ok("a pipeline over all slots", right == 2000);

    ok("multi", is(redisCommand(context, "MULTI"), REDIS_REPLY_STATUS, 0, "OK"));
    ok("queued", is(redisCommand(context, "INCR hi:counter"), REDIS_REPLY_STATUS, 0, "QUEUED"));
    reply = redisCommand(context, "EXEC");
    ok("exec", reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 && reply->element[0]->integer >= 1);
    freeReplyObject(reply);

    ok("push", is(redisCommand(context, "RPUSH hi:list x"), REDIS_REPLY_INTEGER, 1, NULL));
    reply = redisCommand(context, "BLPOP hi:list 5");
    ok("blpop", reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                    strcmp(reply->element[1]->str, "x") == 0);
    freeReplyObject(reply);

    reply = redisCommand(context, "SUBSCRIBE hi:channel");
    ok("subscribe", reply && reply->elements == 3 && reply->element[2]->integer == 1);
    freeReplyObject(reply);
    {
        redisContext *other = redisConnectWithTimeout("127.0.0.1", atoi(words[1]), patience);
        void *one = NULL;
        if (other == NULL || other->err) fail("a second connection");
        ok("publish", is(redisCommand(other, "PUBLISH hi:channel hello"), REDIS_REPLY_INTEGER, 1, NULL));
        redisFree(other);
        if (redisGetReply(context, &one) != REDIS_OK) fail("a message");
        reply = one;
        ok("a message", reply->elements == 3 && strcmp(reply->element[2]->str, "hello") == 0);
        freeReplyObject(reply);
    }
    redisFree(context);
    return 0;
}
