/* Each check: one thing is changed in a good document, and exactly the problems named must be told, where the @ stand. */
#include "check.h"

static void keys_and_types(void **state) {
    (void)state;
    static const row rows[] = {
        {"priorities:", "@priorites:", "unknown key \"priorites\" in the document: did you mean \"priorities\"?"},
        {"guardrails:\n", "@zebra: 1\nguardrails:\n", "unknown key \"zebra\" in the document: it may have priorities, services"},
        {"    every: 5s\n", "    @evry: 5s\n", "unknown key \"evry\" in a signal: did you mean \"every\"?"},
        {"every: 5s", "every: @5", "\"5\" has no unit: write a duration such as 5s or 5ms"},
        {"every: 5s", "every: @soon", "is not a duration: write one such as 250ms"},
        {"every: 5s", "every: @2h", "out of range: write 100ms to 1h"},
        {"every: 5s", "every: @[5s]", "every is one value, such as 30s, not a list"},
        {"every: 5s", "every:@", "every has no value"},
        {"every: 5s", "every: 5s\n    max_age: @2s", "shorter than every"},
        {"inner_loop: true", "inner_loop: @yes", "write true or false"},
        {"inner_loop: true", "inner_loop: @\"true\"", "text because of its quotes"},
        {"capacity_rps: 140", "capacity_rps: @\"140\"", "text because of its quotes"},
        {"capacity_rps: 140", "capacity_rps: @many", "is not a number"},
        {"capacity_rps: 140", "capacity_rps: @-1", "out of range: write 0 to 1000000000"},
        {"capacity_rps: 140", "capacity_rps: @0", "no capacity"},
        {"signals:\n", "signals: @{}\n@signals2:\n", "signals is a list, not a map|unknown key \"signals2\""},
        {"settle: {hold: 30s, within: 5m}", "settle: @30s", "settle is a map, not \"30s\": write it like {hold: 60s, within: 10m}"},
        {"steps: [limit: {}]", "steps: @limit", "steps is a list, not \"limit\""},
        {"  - name: by-hand\n", "  - @text\n  - name: by-hand\n", "a plan is a map, not \"text\""},
        {"max: 80%", "max: @80", "out of range: write more than 0%, up to 100%; a percentage needs its % sign"},
        {"max: 80%", "max: @130%", "out of range: write more than 0%, up to 100%"},
        {"max: 80%", "max: @0%", "does nothing"},
        {"max: 80%", "max: @lots", "not a share"},
        {"max_concurrent_loops: 7", "max_concurrent_loops: @0", "out of range: write 1 to 10000"},
        {"max_concurrent_loops: 7", "max_concurrent_loops: @1.5", "not a whole number"},
        {"guardrails:\n", "guardrails:\n  correlate: @20m\n", "out of range: write 0s to 10m"},
        {"guardrails:\n", "guardrails:\n  max_change: @20%\n", "max_change is a map"},
        {"guardrails:\n", "guardrails:\n  max_change: @{share: 20%}\n", "max_change needs the time in which that may happen: per: 30s"},
        {"guardrails:\n", "guardrails:\n  max_change: @{per: 30s}\n", "max_change needs the share"},
        {"guardrails:\n", "guardrails:\n  max_change: {share: @0%, per: @100ms}\n", "does nothing|out of range: write 1s"},
        {"guardrails:\n", "guardrails:\n  freeze_windows: [{every: @night}]\n", "every \"night\" is no time of the week"},
        {"guardrails:\n", "guardrails:\n  freeze_windows: [@{then: hold}]\n", "a freeze window needs every: weekday 22:00-06:00, or from and to"},
        {"guardrails:\n", "guardrails:\n  freeze_windows: [@{from: 2026-01-01}]\n", "a freeze window needs every"},
        {"guardrails:\n", "guardrails:\n  freeze_windows: [{every: daily, from: @2026-01-01}]\n", "leave one out"},
        {"guardrails:\n", "guardrails:\n  freeze_windows: [{from: @2026-02-30, to: 2026-03-01}]\n", "from \"2026-02-30\" is no date"},
        {"guardrails:\n", "guardrails:\n  freeze_windows: [{from: 2026-03-01 10:00, to: @2026-03-01 10:00}]\n",
         "is not after from: the window would never be open"},
        {"guardrails:\n", "guardrails:\n  freeze_windows: [{every: daily, then: @page, zone: @mars}]\n",
         "write one of hold, approve|write one of local, utc"},
        {"mode: auto", "mode: auto\n    priority: @1001", "out of range: write 0 to 1000"},
        {"mode: auto", "mode: auto\n    priority: @high", "not a whole number"},
        {"mode: auto", "mode: auto\n    exclusive: @[a]", "exclusive is one value"},
        {"      - limit: {by: measured_capacity, keep: [critical, normal]}\n",
         "      - @degrade: {service: checkout, feature: ads, levels: 1, gain: [1.2]}\n",
         "a plan degrades one feature, since one number sizes its levels, and line"},
        {"mode: auto", "mode: @atuo", "mode \"atuo\" is not known: did you mean \"auto\"?"},
        {"mode: auto", "mode: @robot", "write one of observe, advise, approve, auto"},
    };
    run(rows, TT_COUNT(rows));
}

static void names(void **state) {
    (void)state;
    static const row rows[] = {
        {"[critical, normal, batch]\ns", "[critical, normal, batch, @normal]\ns", "priority \"normal\" is named twice"},
        {"[critical, normal, batch]\ns", "[critical, normal, batch, d, e, f, g, h, @i]\ns", "at most 8"},
        {"- name: recommendations\n", "- name: recommendations\n    dcs: [dc-a]\n  - name: front@ page\n", "only letters, digits and"},
        {"- name: recommendations\n", "- name: recommendations\n    dcs: [dc-a]\n  - name: @checkout\n",
         "service \"checkout\" is declared twice, first in a.yaml:7"},
        {"- name: p99_ms\n", "- name: p99_ms\n    reports: latency_p99_ms\n  - name: @error_ratio\n",
         "signal \"error_ratio\" is declared twice, first in a.yaml:13"},
        {"- name: p99_ms\n", "- name: p99_ms\n    reports: latency_p99_ms\n  - name: p99@-ms\n", "small letters, digits and _ only"},
        {"- name: p99_ms\n", "- name: p99_ms\n    reports: latency_p99_ms\n  - name: @and\n", "expressions use this word themselves"},
        {"- name: paged\n", "- name: paged\n    alert: {name: x}\n  - name: @overload\n",
         "anomaly \"overload\" is declared twice, first in a.yaml:22"},
        {"- name: by-hand", "- name: @shed", "plan \"shed\" is declared twice, first in a.yaml:28"},
        {"- name: by-hand\n", "- name: @\"\"\n", "is empty"},
        {"- name: by-hand\n", "- name: @-x\n", "starts with a letter"},
        {"reports: latency_p99_ms\n", "reports: @latency_pp99_ms\n", "did you mean \"latency_p99_ms\"?"},
        {"reports: latency_p99_ms\n", "query: x\n    reports: @latency_p99_ms\n", "query or reports, not both"},
        {"  - name: p99_ms\n    reports: latency_p99_ms\n", "  - @name: p99_ms\n", "a signal needs a query, or reports"},
        {"reports: latency_p99_ms\n", "reports: latency_p99_ms\n    labels: @{a: b}\n", "load reports have service and dc already"},
        {"{service: to_service}", "@to_service", "labels is a map, not \"to_service\""},
        {"{service: to_service}", "{service: @to-service}", "not the name of a label"},
        {"{service: to_service}", "{@9: to_service}", "not the name of a label"},
        {"[30s]", "@[1y]", "the range in this query can't be read"},
        {"anomaly: paged", "anomaly: @pagd", "anomaly \"pagd\" is not declared: did you mean \"paged\"?"},
        {"anomaly: paged", "anomaly: @zebra", "is not declared: give it under `anomalies`"},
        {"priority: batch", "priority: @batsch", "did you mean \"batch\"?"},
        {"keep: [critical, normal]", "keep: [critical, @critical]", "limit.keep names \"critical\" twice"},
        {"keep: [critical, normal]", "keep: @[]", "limit.keep is empty"},
        {"by: measured_capacity", "by: @guess", "limit.by \"guess\" is not known: write one of measured_capacity"},
    };
    run(rows, TT_COUNT(rows));
    expect("missing names", "signals:\n  - @query: x\nanomalies:\n  - @alert: {name: x}\nservices:\n  - @dcs: [a]\nplans:\n  - @@@@@{}\n",
           "a signal without a name|an anomaly without a name|a service without a name|a plan without a name|a plan needs on|a plan needs a target|a "
           "plan needs steps|a plan needs keep");
}

static void services(void **state) {
    (void)state;
    static const row rows[] = {
        {"calls: [recommendations]", "calls: [@recomendations]", "did you mean \"recommendations\"?"},
        {"calls: [recommendations]", "calls: [@recomendatons]", "did you mean \"recommendations\"?"},
        {"calls: [recommendations]", "calls: [@zebra]", "is not declared: give it under `services`"},
        {"calls: [recommendations]", "calls: [recommendations, @recommendations]", "named twice"},
        {"calls: [recommendations]", "calls: [recommendations, @front]", "services call in a circle, front -> checkout -> front"},
        {"calls: [recommendations]", "features: @[a]", "features is a map"},
        {"calls: [recommendations]", "features: {a: @{levels: 2}}", "a feature needs gain"},
        {"calls: [recommendations]", "features: {a: {levels: 2, gain: @[1.1]}}", "gain has 1 factors for 2 levels"},
        {"calls: [recommendations]", "features: {a: {gain: [@0.5]}}", "gain \"0.5\" is below 1"},
        {"calls: [recommendations]", "features: {a: @2}", "a feature is a map"},
        {"calls: [recommendations]", "features: {a: {gain: [2], @lvl: 1}}", "unknown key \"lvl\""},
        {"calls: [recommendations]", "calls: [recommendations, @checkout]", "services call in a circle, checkout -> checkout"},
        {"    dcs: [dc-a]\n", "    dcs: [dc-a]\n    calls: [@front]\n", "front -> checkout -> recommendations -> front"},
        {"dcs: {dc-a: {weight: 60%", "dcs: @{dc-a: {weight: 50%", "weights sum to 90.0%, not to 100%"},
        {"dcs: {dc-a: {weight: 60%, capacity_rps: 140}", "dcs: @{dc-a: {capacity_rps: 140}", "1 of 2 data centers have a weight"},
        {"{weight: 40%}", "{@wieght: 40%, weight: 40%}", "did you mean \"weight\"?"},
        {"    dcs: [dc-a]\n", "    dcs: @[]\n", "names 0 data centers"},
        {"    dcs: [dc-a]\n", "    dcs: [dc-a, @dc-a]\n", "named twice"},
        {"    dcs: [dc-a]\n", "    dcs: @dc-a\n", "a list or a map, not \"dc-a\""},
        {"  - name: recommendations\n    dcs: [dc-a]\n", "  - @name: recommendations\n", "a service needs dcs"},
    };
    run(rows, TT_COUNT(rows));
}

static void anomalies(void **state) {
    (void)state;
    static const row rows[] = {
        {"when: error_ratio > 5% and", "when: @eror_ratio > 5% and", "signal \"eror_ratio\" is not declared: did you mean \"error_ratio\"?"},
        {"when: error_ratio > 5% and", "when: error_ratio > 5% and @zebra > 1 and", "\"zebra\" is not declared: give it under `signals`"},
        {"when: error_ratio > 5% and offered_rps > 50", "when: >\n      error_ratio > 5%\n        and offered_rps > @> 50", "\">\" where a signal"},
        {"when: error_ratio > 5% and", "when: @error_ratio > 5 and", "can never hold, so nothing would ever answer"},
        {"when: error_ratio > 5% and offered_rps > 50", "when: @offered_rps >= 0", "always holds, so it would be an anomaly for ever"},
        {"when: error_ratio > 5% and offered_rps > 50", "when: @1 > 0", "reads no signal"},
        {"    for: 10s\n", "    for: 10s\n    alert: @{name: x}\n", "when or alert, not both"},
        {"    for: 10s\n", "    for: @25h\n", "out of range: write 0s to 1d"},
        {"  - name: paged\n    alert: {name: /HighErrorRate|LatencySLO/}\n", "  - @name: paged\n", "an anomaly needs when"},
        {"{name: /HighErrorRate|LatencySLO/}", "@x", "alert is a map, not \"x\""},
        {"{name: /HighErrorRate|LatencySLO/}", "@{}", "alert needs the name it answers, or labels"},
        {"{name: /HighErrorRate|LatencySLO/}", "{name: '/High(@/'}", "missing closing parenthesis"},
        {"{name: /HighErrorRate|LatencySLO/}", "{name: @/High}", "a pattern stands between two slashes"},
        {"{name: /HighErrorRate|LatencySLO/}", "{name: '/@(a+)+$/'}", "it runs away: 100000 steps are not enough"},
    };
    run(rows, TT_COUNT(rows));
}

static void variables(void **state) {
    (void)state;
    static const row rows[] = {
        {"service: /^(?<svc>.+)$/", "service: /^(?<svc>.+)-@(?<rest>.+)$/", "variable \"rest\" is never used: write $rest"},
        {"service: /^(?<svc>.+)$/", "service: '/^(?<svc>.+)-@(?P<rest>.+)$/'", "variable \"rest\" is never used"},
        {"dc: /^(?<dc>.+)$/}}", "dc: /^(?<dc>.+)$/, region: /^@(?<svc>.+)$/}}", "variable \"svc\" is made twice, first at line 29"},
        {"target: {service: $svc, dc: $dc}", "target: {service: $svc, dc: @dc-$dc}", "a variable stands alone"},
        {"target: {service: checkout, dc: dc-a}", "target: {service: checkout, dc: @$dc}", "make it in on.labels"},
        {"labels: {dc: dc-a}", "labels: {dc: @$dc}", "variables are made here, not used"},
        {"labels: {dc: dc-a}", "labels: @dc-a", "on.labels is a map"},
        {"labels: {dc: dc-a}", "labels: {dc: @\"\"}", "is empty"},
    };
    run(rows, TT_COUNT(rows));
    char *text = replaced(good_text, "target: {service: $svc,", "target: {service: @$svcc,");
    expect("a slip in a variable is told once, not as unused too", text, "no variable \"$svcc\" in this plan: did you mean \"$svc\"?");
    free(text);
    /* What a pattern that can't be read would have made is not missed as well. */
    text = replaced(good_text, "dc: /^(?<dc>.+)$/}}", "dc: '/^(?<dc>.+$/@'}}");
    char *at = strstr(text, "/@'");
    memcpy(at, "@/'", 3);
    expect("unreadable pattern", text, "missing closing parenthesis");
    free(text);
}

static void plans(void **state) {
    (void)state;
    static const row rows[] = {
        {"keep: [error_ratio <= 1%, p99_ms <= 250]", "keep: [@error_ratio < 0, p99_ms <= 250]", "can never hold, so the plan could never settle"},
        {"keep: [error_ratio <= 1%, p99_ms <= 250]", "keep: [@error_ratio <= 1, p99_ms <= 250]",
         "always holds, so the plan would settle whatever happens"},
        {"keep: [error_ratio <= 1%, p99_ms <= 250]", "keep: @[p99_ms <= 250, p99_ms > 300]", "two of them exclude each other"},
        {"keep: [error_ratio <= 1%, p99_ms <= 250]", "keep: [error_ratio <= 1%, p99_ms <= @p99_m]", "did you mean \"p99_ms\"?"},
        {"keep: [error_ratio <= 1%, p99_ms <= 250]", "keep: @[]", "a plan without an aim never settles"},
        {"keep: [error_ratio <= 1%, p99_ms <= 250]", "keep: @error_ratio <= 1%", "keep is a list"},
        {"steps: [limit: {}]", "steps: @[]", "steps is empty"},
        {"steps: [limit: {}]", "steps: [@limit]", "a step is a map with one key, not \"limit\""},
        {"steps: [limit: {}]", "steps: [@limt: {}]", "unknown step \"limt\": did you mean \"limit\"?"},
        {"steps: [limit: {}]", "steps: [@retry: {}]",
         "retry goes by the signal retries_rps, how many of the requests are retries, and it is not declared"},
        {"steps: [limit: {}]", "steps: [@retry: {service: recommendations}]", "retry goes by the signal retries_rps or arrived_rps"},
        {"steps: [limit: {}]", "steps: [@@timeout: {}]", "timeout goes by the signal latency_mean_ms|timeout goes by the signal latency_p99_ms"},
        {"steps: [limit: {}]", "steps: [@hedge: {}]", "hedge goes by the signal utilization"},
        {"steps: [limit: {}]", "steps: [@isolate: {}]", "isolate goes by the signal caller_rps"},
        {"steps: [limit: {}]", "steps: [@explode: {}]", "unknown step \"explode\": a plan may use degrade, limit"},
        {"steps: [limit: {}]", "steps:\n      - drop:\n        @priority: batch", "a step has one key, its kind: indent \"priority\" under \"drop\""},
        {"steps: [limit: {}]", "steps: [limit: {}, @limit: {}]", "this limit repeats the one at line"},
        {"steps: [limit: {}]", "steps: [drop: {priority: batch}, @drop: {priority: batch}]", "this drop repeats the one"},
        {"steps: [limit: {}]", "steps: [drop: @{}]", "drop needs the priority"},
        {"steps: [limit: {}]", "steps: [@eject: {max: 20%}]", "eject takes one instance out and the target has none"},
        {"gain: [1.14, 1.33]", "gain: [1.14, @1.14]", "does not rise over the level before"},
        {"gain: [1.14, 1.33]", "gain: [@0.9, 1.33]", "is below 1"},
        {"gain: [1.14, 1.33]", "gain: @[1.14]", "gain has 1 factors for 2 levels"},
        {"gain: [1.14, 1.33]", "gain: @1.14", "gain is a list"},
        {"degrade: {service: checkout, feature: related, levels: 2, gain: [1.14, 1.33]}",
         "degrade: @{service: checkout, feature: related, levels: 2}", "degrade needs gain beside levels"},
        {"degrade: {service: checkout, feature: related, levels: 2, gain: [1.14, 1.33]}", "@degrade: {service: checkout, feature: related}",
         "degrade needs gain, the capacity factor each level brings, such as gain: [1.14, 1.33]: no service it may act on declares the feature "
         "\"related\" with its own"},
        {"degrade: {service: checkout, feature: related, levels: 2, gain: [1.14, 1.33]}", "@degrade: {feature: related}",
         "no service it may act on declares"},
        {"degrade: {service: checkout, feature: related,", "degrade: @{service: checkout,", "degrade needs the feature"},
        {"levels: 2", "levels: @9", "out of range: write 1 to 8"},
        {"degrade: {service: checkout,", "degrade: {service: @chekout,",
         "degrade.service \"chekout\" is not declared under services: did you mean \"checkout\"?"},
        {"degrade: {service: checkout,", "degrade: {service: @$dc,", "neither the target's own variable nor a service"},
        {"degrade: {service: checkout,", "degrade: {service: $svc,", ""},
        {"shift: {from: $dc, max: 40%}", "shift: {from: @dc-b, max: 40%}", "shift.from \"dc-b\" is not the target's data center"},
        {"shift: {from: $dc, max: 40%}", "shift: {from: $dc, max: 40%, approve: @required}", "approve is asked for a cutover only, not for shift"},
        {"limit: {by: measured_capacity,", "limit: {approve: @required,", "approve is asked for a cutover only, not for limit"},
        {"steps: [limit: {}]", "steps: [degrade: {feature: x, gain: [2]}, @degrade: {feature: y, gain: [2]}]",
         "a plan degrades one feature, since one number sizes its levels, and line"},
        {"approve: required", "approve: @yes", "approve \"yes\" is not known: write one of required"},
        {"{service: checkout, dc: dc-a}", "{service: @chekout, dc: dc-a}",
         "target.service \"chekout\" is not declared under services: did you mean \"checkout\"?"},
        {"{service: checkout, dc: dc-a}", "{service: @zebra, dc: dc-a}", "steps are sized from its capacity"},
        {"{service: checkout, dc: dc-a}", "{service: checkout, dc: @dc-x}", "service checkout has no data center \"dc-x\": did you mean \"dc-a\"?"},
        {"{service: checkout, dc: dc-a}", "@{}", "target needs a service"},
        {"target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [limit: {}]",
         "target: {dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [@limit: {}]", "limit acts on one service and the target has none"},
        {"target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [limit: {}]",
         "target: {dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [cutover: {approve: required}]", ""},
        {"target: {service: checkout, dc: dc-a}", "target: @checkout", "target is a map"},
        {"settle: {hold: 30s, within: 5m}", "settle: {hold: 30s, within: @30s}", "not longer than settle.hold 30s"},
        {"settle: {hold: 30s, within: 5m}", "settle: {hold: @10m}", "settle.within 10m is not longer than settle.hold 10m"},
        {"on_no_data: hold", "on_no_data: @open", "silence is neither health nor failure"},
        {"otherwise: {page: web-oncall}", "otherwise: @{}", "otherwise needs whom to call"},
        {"recover: {after: 1m, step: 20%", "recover: {after: 1m, step: @0", "does nothing"},
        {"approval: {within: 2m}", "approval: {within: @10ms}", "out of range"},
    };
    run(rows, TT_COUNT(rows));
}

static void crossed(void **state) {
    (void)state;
    static const row rows[] = {
        /* each step that acts in a data center, in a target without one */
        {"target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [limit: {}]",
         "target: {service: checkout}\n    keep: [error_ratio <= 1%]\n    steps: [@degrade: {feature: x, gain: [2]}, @limit: {}, @drop: {priority: "
         "batch}, @shift: {}, @cutover: {}]",
         "degrade acts in one data center|limit acts in one data center|drop acts in one data center|shift acts in one data center|cutover acts in "
         "one data center"},
        {"target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [limit: {}]",
         "target: {service: recommendations, dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [@shift: {}]",
         "shift has nowhere to go: service recommendations has one data center only"},
        {"target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [limit: {}]",
         "target: {service: undeclared, dc: dc-a, instance: i}\n    keep: [error_ratio <= 1%]\n    steps: [eject: {}]", ""},
        {"target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [limit: {}]",
         "target: {service: checkout, dc: dc-a, instance: i}\n    keep: [error_ratio <= 1%]\n    steps: [@limit: {}, eject: {}]",
         "limit acts on a whole data center and the target is one instance"},
        {"target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]\n    steps: [limit: {}]",
         "target: {service: checkout, instance: i}\n    keep: [error_ratio <= 1%]\n    steps: [@eject: {}]", "eject acts in one data center"},
        {"most_targets_bad: {share: 50%, at_least: 4, then: freeze}", "most_targets_bad: {share: 50%, at_least: 4, then: @page}",
         "write one of freeze"},
        {"protected: [payments, /^auth-/]", "protected: [payments, '/^auth@(?<x>.)/']", "the named group \"x\" goes nowhere"},
        {"lock_out: {reversals: 4, for: 20m}", "lock_out: {reversals: @0, for: 20m}", "out of range"},
        {"  lock_out: {reversals: 4, for: 20m}", "  lock_out: {@revresals: 4}", "did you mean \"reversals\"?"},
        /* the same anomaly, labels and target */
        {"guardrails:\n",
         "  - name: again\n    on: @{anomaly: paged, labels: {dc: dc-a}}\n    target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= 2%]\n "
         "   steps: [drop: {priority: batch}]\nguardrails:\n",
         "plan again answers the same anomaly, labels and target as plan by-hand (a.yaml:44)"},
        {"guardrails:\n",
         "  - name: again\n    on: {anomaly: paged, labels: {dc: dc-a, x: y}}\n    target: {service: checkout, dc: dc-a}\n    keep: [error_ratio <= "
         "2%]\n    steps: [drop: {priority: batch}]\nguardrails:\n",
         ""},
    };
    run(rows, TT_COUNT(rows));
    char *text = replaced(good_text, "protected: [payments,", "protected: [checkout,"),
         *marked = replaced(text, "degrade: {service: checkout", "degrade: {service: @checkout");
    free(text);
    text = replaced(marked, "target: {service: checkout", "target: {service: @checkout");
    expect("protected by name", text,
           "degrade.service \"checkout\" is protected by checkout (a.yaml:52)|target.service \"checkout\" is protected by checkout");
    free(text), free(marked);
    text = replaced(good_text, "/^auth-/", "/^check/"), marked = replaced(text, "degrade: {service: checkout", "degrade: {service: front");
    free(text);
    text = replaced(marked, "target: {service: checkout", "target: {service: @checkout");
    expect("protected by pattern", text, "target.service \"checkout\" is protected by /^check/");
    free(text), free(marked);
    expect("no services",
           "signals: [{name: e, query: q}]\nanomalies: [{name: a, when: e > 1}]\nplans: [{name: p, on: {anomaly: a}, target: {service: @s, dc: d}, "
           "keep: [e < 1], steps: [limit: {}]}]\n",
           "no services are declared");
}

/* Where a number, a duration or a share belongs, nothing else is taken for one. */
static void no_numbers(void **state) {
    (void)state;
    static const char *const not_numbers[] = {".nan",   ".NaN", ".inf",  "-.inf",    "nan", "inf", "Infinity", "1e999",
                                              "-1e999", "0x10", "1_000", "\xD9\xA3", "+",   "1e",  "--1",      "1 2"};
    /* the value in its place */
    static const char *const places[] = {"capacity_rps: 140",       "weight: 60%", "every: 5s", "max: 80%", "levels: 2", "gain: [1.14", "step: 20%",
                                         "max_concurrent_loops: 7", "for: 10s",    "share: 50%"};
    for (size_t i = 0; i < TT_COUNT(places); i++)
        for (size_t k = 0; k < TT_COUNT(not_numbers); k++) {
            char with[200];
            size_t head = strcspn(places[i], " ") + 1;
            head += places[i][head] == '[';
            snprintf(with, sizeof(with), "%.*s@%s", (int)head, places[i], not_numbers[k]);
            char *text = replaced(good_text, places[i], with);
            expect(with, text, "");
            free(text);
        }
}

/* A scalar as long as a file may be: one problem, where it stands, and no more of it shown than helps. */
static void huge(void **state) {
    (void)state;
    static const struct {
        const char *before, *after, *says;
    } rows[] = {
        {"signals: [{name: @", ", query: q}]\n", "a name has at most 127"},
        {"signals: [{name: x, query: @", "}]\n", "at most 32768: record its parts"},
        {"signals: [{name: x, query: q, every: @", "}]\n", "is not a duration"},
        {"signals: [{name: x, query: q}]\nanomalies: [{name: y, when: @", "}]\n", "longer than 4096 bytes"},
        {"anomalies: [{name: y, alert: {name: @", "}}]\n", "at most 127 are compared"},
        {"anomalies: [{name: y, alert: {name: /@", "/}}]\n", "1000000 bytes, a pattern has at most 1024"},
        {"anomalies: [{name: y, alert: {labels: {@", ": x}}}]\n", ""},
        {"guardrails: {max_concurrent_loops: @", "}\n", "is not a whole number"},
        {"guardrails: {@", ": 1}\n", "unknown key"},
        {"guardrails: {max_capacity_removed: @", "%}\n", "is not a share"},
        {"@", ": 1\n", "unknown key"},
    };
    enum { LONG = 1000000 };
    static char many[LONG + 1];
    memset(many, 'a', LONG);
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        size_t size = LONG + 300;
        char *text = malloc(size);
        /* A key of YAML itself is at most 1024 bytes without its "?". */
        bool key = rows[i].after[0] == ':';
        snprintf(text, size, "%s%.*s%s", rows[i].before, key ? 1000 : LONG, many, rows[i].after);
        expect(rows[i].before, text, rows[i].says);
        free(text);
    }
}

/* What is fine by itself and contradicts something else. */
static void contradictions(void **state) {
    (void)state;
#define KEEP "keep: [error_ratio <= 1%, p99_ms <= 250]"
#define AIMS "keep: [@"
    static const row rows[] = {
        /* what can hold together is found through `or`, `not` and arithmetic of constants */
        {"when: error_ratio > 5% and offered_rps > 50", "when: @error_ratio > 5% and (error_ratio < 4% or offered_rps < 0)", "can never hold"},
        {"when: error_ratio > 5% and offered_rps > 50", "when: @error_ratio > 5% or not error_ratio > 10%", "always holds"},
        {"when: error_ratio > 5% and offered_rps > 50", "when: @not (error_ratio >= 0)", "can never hold"},
        {"when: error_ratio > 5% and offered_rps > 50", "when: error_ratio != 5% and error_ratio > 4%", ""},
        {"when: error_ratio > 5% and offered_rps > 50", "when: @error_ratio == 5% and error_ratio != 5%", "can never hold"},
        {"keep: [error_ratio <= 1%, p99_ms <= 250]", "keep: @[error_ratio <= 1% or p99_ms <= 250, error_ratio > 2%, p99_ms > 300]",
         "can never hold together"},
        /* an aim inside the anomaly */
        {KEEP, AIMS "error_ratio <= 8%, p99_ms <= 250]",
         "keep \"error_ratio <= 8%\" can hold while anomaly overload does (error_ratio > 5% and offered_rps > 50)"},
        {KEEP, "keep: [error_ratio <= 5%, p99_ms <= 250]", ""},
        {KEEP, "keep: @[error_ratio > 5%, offered_rps > 50]",
         "with keep reached, anomaly overload can never be over (it lasts while error_ratio > 5% and offered_rps > 50)"},
        {"    for: 10s\n", "    for: 10s\n    clear: error_ratio < 0.5%\n", ""},
        /* the way back */
        {"recover: {after: 1m, step: 20%, every: 15s}", "recover: {after: 1m, step: @0.1%, every: 15m}",
         "recover gives back 0.1% every 15m, which takes more than a week"},
        {"recover: {after: 1m, step: 20%, every: 15s}", "recover: {after: 1m, step: 10%, every: 15m}", ""},
        /* plans that fight */
        {"guardrails:\n",
         "  - name: rival\n    on: @{anomaly: paged, labels: {service: /^(?<svc>check.+)$/, dc: /^(?<dc>.+)$/}}\n    mode: auto\n    target: "
         "{service: $svc, dc: $dc}\n    "
         "keep: [error_ratio <= 2%]\n    steps: [shift: {}]\nguardrails:\n",
         "plan rival may act on the same target as plan shed (a.yaml:28), both with shift"},
    };
    run(rows, TT_COUNT(rows));
    /* Each of these tells who goes first, or keeps them apart. */
    static const struct {
        const char *mode, *labels, *target, *steps, *more;
    } apart[] = {
        {"advise", "{service: /^(?<svc>check.+)$/, dc: /^(?<dc>.+)$/}", "{service: $svc, dc: $dc}", "[shift: {}]", ""},
        {"approve", "{service: /^(?<svc>check.+)$/, dc: /^(?<dc>.+)$/}", "{service: $svc, dc: $dc}", "[shift: {}]", ""},
        {"auto", "{service: /^(?<svc>check.+)$/, dc: /^(?<dc>.+)$/}", "{service: $svc, dc: $dc}", "[shift: {}]", "    priority: 1\n"},
        {"auto", "{service: checkout, dc: /^(?<dc>.+)$/}", "{service: checkout, dc: $dc}", "[shift: {}]", ""},
        {"auto", "{service: /^(?<svc>check.+)$/, dc: /^(?<dc>.+)$/, instance: /^(?<i>.+)$/}", "{service: $svc, dc: $dc, instance: $i}", "[eject: {}]",
         ""},
        {"auto", "{service: /^x-(?<svc>check.+)$/, dc: /^(?<dc>.+)$/}", "{service: $svc, dc: $dc}", "[shift: {}]",
         ""}, /* nobody can tell what is left of it */
    };
    for (size_t i = 0; i < TT_COUNT(apart); i++) {
        char more[700];
        snprintf(more, sizeof(more),
                 "  - name: rival\n    on: {anomaly: paged, labels: %s}\n    mode: %s\n    target: %s\n%s    keep: [error_ratio <= 2%%]\n    steps: "
                 "%s\nguardrails:\n",
                 apart[i].labels, apart[i].mode, apart[i].target, apart[i].more, apart[i].steps);
        char *text = replaced(good_text, "guardrails:\n", more);
        expect(more, text, "");
        free(text);
    }
    /* A name that a pattern runs away on. */
    expect("a pattern and a service",
           "services: [{name: xyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyz-, dcs: "
           "[a]}]\n"
           "guardrails: {protected: [@'/^(x\\x79z|x\\x79zx\\x79z)*$/']}\n",
           "guardrails.protected /^(x\\x79z|x\\x79zx\\x79z)*$/ runs away on xyzxyz");
    /* Taken out, it says nothing any more. */
    char *text = replaced(good_text, "guardrails:\n",
                          "  - name: out\n    on: {anomaly: overload, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/, instance: "
                          "/^(?<i>.+)$/}}\n    target: {service: $svc, "
                          "dc: $dc, instance: $i}\n    keep: [error_ratio <= 2%]\n    steps: [@eject: {}]\nguardrails:\n");
    expect("eject", text, "nothing could undo this eject: keep reads error_ratio, which says nothing of an instance that is out");
    free(text);
}

static void over_files(void **state) {
    (void)state;
    static const char *const texts[] = {"signals: [{name: e, query: q}]\npriorities: [a]\nguardrails: {}\n",
                                        "signals: [{name: e, query: q}]\npriorities: [b]\nguardrails: {}\n"};
    static const struct {
        uint32_t line, column;
        const char *says;
    } want[] = {
        {1, 18, "first in a.yaml:1"}, {2, 13, "priorities stands twice, first in a.yaml:2"}, {3, 13, "guardrails stands twice, first in a.yaml:3"}};
    loaded l;
    load_texts(&l, texts, 2);
    assert_null(l.rules);
    assert_int_equal(l.n_errs, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(l.errs[i].file, "b.yaml");
        assert_int_equal(l.errs[i].line, want[i].line);
        assert_int_equal(l.errs[i].column, want[i].column);
        assert_non_null(strstr(l.errs[i].text, want[i].says));
    }
    unload(&l);
}

static void beside_the_ladder(void **state) {
    (void)state;
    static const row rows[] = {
        {"steps: [limit: {}]", "steps: [retry: {}, timeout: {service: recommendations}, hedge: {}, isolate: {}]", ""},
        {"steps: [limit: {}]", "steps: [retry: {service: payments, budget: 5%, min: 0%}]", ""},
        {"steps: [limit: {}]",
         "steps: [timeout: {service: recommendations, factor: 2, min: 50ms, max: 500ms}, hedge: {off_above: 0.7}, isolate: {max: 50%}]", ""},
        {"steps: [limit: {}]", "steps: [limit: {by: concurrency}]", ""},
        {"steps: [limit: {}]", "steps: [limit: {by: concurrency, latency: 400ms}]", ""},
        {"steps: [limit: {}]", "steps: [limit: {latency: @400ms}]", "it needs by: concurrency"},
        {"steps: [limit: {}]", "steps: [limit: {by: @speed}]", "write one of measured_capacity, concurrency"},
        {"steps: [limit: {}]", "steps: [retry: {budget: 5%, min: @10%}]", "retry.min \"10%\" is more than retry.budget"},
        {"steps: [limit: {}]", "steps: [retry: {budget: @0%}]", "does nothing: write more than 0%"},
        {"steps: [limit: {}]", "steps: [retry: {@bugdet: 5%}]", "did you mean \"budget\"?"},
        {"steps: [limit: {}]", "steps: [retry: {service: @paymets}]",
         "retry.service \"paymets\" is not declared under services: did you mean \"payments\"?"},
        {"steps: [limit: {}]", "steps: [hedge: {approve: @required}]", "approve is asked for a cutover only, not for hedge"},
        {"steps: [limit: {}]", "steps: [timeout: {factor: @0.5}]", "out of range: write 1 to 100"},
        {"steps: [limit: {}]", "steps: [timeout: {min: 2s, max: @1s}]", "timeout.max is not above timeout.min"},
        {"steps: [limit: {}]", "steps: [timeout: {max: @0.3}]", "has no unit"},
        {"steps: [limit: {}]", "steps: [hedge: {off_above: @80}]", "off_above"},
        {"steps: [limit: {}]", "steps: [isolate: {max: 50%}, @isolate: {}]", "this isolate repeats the one at line"},
    };
    /* The document with what these steps go by. */
    char *with = replaced(good_text, "signals:\n",
                          "  - {name: payments, dcs: [dc-a]}\n"
                          "signals:\n"
                          "  - {name: retries_rps, query: x}\n"
                          "  - {name: latency_mean_ms, query: x}\n"
                          "  - {name: latency_p99_ms, query: x}\n"
                          "  - {name: utilization, query: x}\n"
                          "  - {name: caller_rps, query: x}\n"),
         *open = replaced(with, "protected: [payments, /^auth-/]", "protected: [/^auth-/]");
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char *text = replaced(open, rows[i].find, rows[i].with);
        expect(rows[i].with, text, rows[i].says);
        free(text);
    }
    free(with);
    free(open);
}

static void versions(void **state) {
    (void)state;
    static const row rows[] = {
        {"{from_version: canary, to: stable}", "{to: stable, max: 50%}", ""},
        {"{stable: 95%, canary: 5%}", "{stable: {weight: 95%, capacity_rps: 900}, canary: 5%}", ""},
        {"shift: {from_version: canary, to: stable}", "@limit: {}", "the target is one version: only shift: {from_version: $version, to: stable}"},
        {"shift: {from_version: canary, to: stable}", "@shift: {}", "the target is one version"},
        {"{from_version: canary, to: stable}", "{from_version: @canary}", "needs who takes over"},
        {"{from_version: canary, to: stable}", "{from: @dc-a, to: stable}", "between data centers or between versions, not both"},
        {"{from_version: canary, to: stable}", "{from_version: @stable, to: canary}", "is not the target's version"},
        {"shift: {from_version: canary, to: stable}", "@shift: {from_version: canary, to: next}", "service checkout has no version next"},
        {"shift: {from_version: canary, to: stable}", "@shift: {to: canary}", "shift.to is the version that is to be left"},
        {", version: canary}", ", instance: x, version: @canary}", "instance or version, not both"},
        {", version: canary}", "}", "treats one version and the target has none"},
        {"{stable: 95%, canary: 5%}", "@{stable: 95%, canary: 15%}", "don't sum to 100%"},
        {"{stable: 95%, canary: 5%}", "@[stable, canary]", "versions is a map of 2 to 8"},
        {"{stable: 95%, canary: 5%}", "{stable: {weight: 95%, capacity_rps: @0}, canary: 5%}", "capacity_rps 0 is no capacity"},
        {"    versions: {stable: 95%, canary: 5%}\n", "", "service checkout declares no versions"},
    };
    char *declared = replaced(good_text, "  - name: checkout\n", "  - name: checkout\n    versions: {stable: 95%, canary: 5%}\n"),
         *with = replaced(declared, "target: {service: checkout, dc: dc-a}", "target: {service: checkout, dc: dc-a, version: canary}"),
         *good = replaced(with, "steps: [limit: {}]", "steps: [shift: {from_version: canary, to: stable}]");
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char *text = replaced(good, rows[i].find, rows[i].with), *marked = text;
        if (!strchr(text, '@') && rows[i].says[0]) marked = replaced(text, "shift: {from_version", "@shift: {from_version");
        expect(rows[i].with, marked, rows[i].says);
        if (marked != text) free(marked);
        free(text);
    }
    free(declared);
    free(with);
    free(good);
}

static void laws(void **state) {
    (void)state;
    static const row rows[] = {
        {"steps: [limit: {}]", "law: aimd\n    steps: [limit: {}]", ""},
        {"steps: [limit: {}]",
         "law: {name: aimd, every: 5s, min_factor: 20%, increment: 5%, max_multiplier: 1.5, base_window: 10s}\n    steps: [limit: {}]", ""},
        {"steps: [limit: {}]", "law: {name: pi, gain: 3, response: 20s}\n    steps: [drop: {priority: batch, max: 80%}]", ""},
        {"steps: [limit: {}]",
         "law: {name: runbook, wait: 30s}\n    steps: [drop: {priority: batch, ratio: 50%}, degrade: {feature: x, level: 2}, shift: {share: 30%}, "
         "limit: {rps: 90, keep: [critical]}, cutover: {approve: required}]",
         ""},
        {"steps: [limit: {}]", "law: @amd\n    steps: [limit: {}]", "law \"amd\" is not known: did you mean \"aimd\"?"},
        {"steps: [limit: {}]", "law: @{every: @5s}\n    steps: [limit: {}]", "law needs a name|law measured_capacity has no every"},
        {"steps: [limit: {}]", "law: {name: pi, increment: @5%}\n    steps: [limit: {}]", "law pi has no increment: leave it out"},
        {"steps: [limit: {}]", "law: {name: aimd, wait: @5s}\n    steps: [limit: {}]", "law aimd has no wait"},
        {"steps: [limit: {}]", "law: {name: aimd, max_multiplier: @0.5}\n    steps: [limit: {}]", "out of range: write 1 to 10"},
        {"steps: [limit: {}]", "law: {name: aimd, increment: @0}\n    steps: [limit: {}]", "law.increment"},
        {"steps: [limit: {}]", "law: aimd\n    steps: [limit: {}, @shift: {}]",
         "law aimd only sheds, by limit or drop; shift needs law measured_capacity"},
        {"steps: [limit: {}]", "law: aimd\n    steps: [limit: {by: @measured_capacity}]", "limit.by belongs to law measured_capacity"},
        {"steps: [limit: {}]", "law: runbook\n    steps: [limit: @{}]", "under law runbook limit needs its value written: rps: 800"},
        {"steps: [limit: {}]", "law: runbook\n    steps: [drop: @{priority: batch}]", "under law runbook drop needs its value written: ratio: 50%"},
        {"steps: [limit: {}]", "law: runbook\n    steps: [drop: {priority: batch, ratio: 50%, max: @60%}]",
         "drop.max belongs to law measured_capacity"},
        {"steps: [limit: {}]", "law: runbook\n    steps: [degrade: {feature: x, level: @0}]", "out of range: write 1 to 8"},
        {"steps: [limit: {}]", "law: runbook\n    steps: [limit: {rps: @0}]", "limit.rps 0 lets nobody in"},
        {"steps: [limit: {}]", "steps: [drop: {priority: batch, ratio: @50%}]", "drop.ratio sets the step by hand, and law measured_capacity sizes"},
        {"keep: [error_ratio <= 1%]\n    steps: [limit: {}]", "keep: [@offered_rps > 5]\n    law: aimd\n    steps: [limit: {}]",
         "law aimd steers by the first of keep"},
    };
    run(rows, TT_COUNT(rows));
}

static void all_at_once(void **state) {
    (void)state;
    expect("many",
           "signals:\n  - {name: a, query: q, @evry: 5s}\nanomalies:\n  - {name: x, when: @b > 1}\n  - {name: y, peers: @@{}}\nguardrails: "
           "{max_capacity_removed: @140%}\n",
           "did you mean \"every\"|signal \"b\" is not declared|peers needs the signal|peers needs by|out of range");
}

static void no_room_for_errors(void **state) {
    (void)state;
    tt_arena *arena = tt_arena_new();
    const tt_doc *doc = tt_yaml_parse(arena, "x", TT_SV("a: 1\nb: 2\nc: 3\n"), NULL, NULL);
    tt_err errs[2];
    size_t n = 77;
    assert_null(tt_rules_load(&doc, 1, NULL, errs, 2, &n));
    assert_int_equal(n, 2);
    assert_null(tt_rules_load(&doc, 1, NULL, NULL, 0, &n));
    assert_int_equal(n, 0);
    doc = tt_yaml_parse(arena, "x", TT_SV("guardrails: {protected: [/a/]}\n"), NULL, NULL);
    assert_null(tt_rules_load(&doc, 1, NULL, errs, 2, &n)); /* patterns without a matcher */
    assert_int_equal(n, 1);
    doc = tt_yaml_parse(arena, "x", TT_SV("- a\n"), NULL, NULL);
    assert_null(tt_rules_load(&doc, 1, NULL, errs, 2, &n));
    assert_int_equal(n, 1);
    tt_arena_free(arena);
}

/* What a service calls, near and far, is judged with it: one hop more than there is room for is told, not left out. */
static void calls_go_only_so_deep(void **state) {
    (void)state;
    for (int deep = TT_CLOSURE_MAX; deep <= TT_CLOSURE_MAX + 1; deep++) {
        char text[16384];
        size_t n = (size_t)snprintf(text, sizeof text, "services:\n");
        for (int i = 0; i < deep; i++) {
            n += (size_t)snprintf(text + n, sizeof text - n, "  - {name: s%d, dcs: [a]", i);
            if (i + 1 < deep) n += (size_t)snprintf(text + n, sizeof text - n, ", calls: [%ss%d]", i == 0 && deep > TT_CLOSURE_MAX ? "@" : "", i + 1);
            n += (size_t)snprintf(text + n, sizeof text - n, "}\n");
        }
        expect("a chain of calls", text, "service s0 and what it calls, near and far, are more than 64 services");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_types),
        cmocka_unit_test(calls_go_only_so_deep),
        cmocka_unit_test(names),
        cmocka_unit_test(services),
        cmocka_unit_test(anomalies),
        cmocka_unit_test(variables),
        cmocka_unit_test(plans),
        cmocka_unit_test(crossed),
        cmocka_unit_test(over_files),
        cmocka_unit_test(contradictions),
        cmocka_unit_test(no_numbers),
        cmocka_unit_test(huge),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(no_room_for_errors),
        cmocka_unit_test(versions),
        cmocka_unit_test(laws),
        cmocka_unit_test(beside_the_ladder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
