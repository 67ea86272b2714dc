/*
 * The page of a dflockd server. It asks the server it came from, at most once per second for what
 * is visible. Texts of the server become text nodes, never markup.
 */
"use strict";

const POLL_MS = 1000;
const RETRY_MAX_MS = 5000;
const REQUEST_MS = 10000;
const SEARCH_MS = 250;
const HISTORY_MS = 5 * 60 * 1000;
const GAP_MS = 7000; // Samples that are further apart are not joined.
const KEYS_SHOWN = 20;
const CLAIMS_SHOWN = 100;
const TOKEN_ITEM = "dflockd-token";
const SVG = "http://www.w3.org/2000/svg";

const element = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
let history = [];
let lastTotals = null;
let unreachableSince = null;
let refused = false; // The server wants another token; nothing is polled until it is given.
let announceNext = false;
let selected = null; // {kind, key} of the detail

/* ---- text ---- */

function setText(node, text) {
    if (node.textContent !== text)
        node.textContent = text;
}

/* Makes characters visible that would hide or reorder parts of a name. */
function visible(text) {
    return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
                        (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");
}

function duration(seconds) {
    if (seconds === null || seconds === undefined)
        return "–";
    if (seconds < 10)
        return seconds.toFixed(1) + " s";
    const s = Math.floor(seconds);
    if (s < 60)
        return s + " s";
    if (s < 3600)
        return Math.floor(s / 60) + " min " + s % 60 + " s";
    if (s < 86400)
        return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
    return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
}

function rateText(value) {
    return value < 10 ? value.toFixed(1) : whole.format(Math.round(value));
}

/* ---- requests ---- */

function token() {
    return sessionStorage.getItem(TOKEN_ITEM);
}

async function request(method, path, body) {
    const headers = {};
    const given = token();
    if (given)
        headers.Authorization = "Bearer " + given;
    if (body)
        headers["Content-Type"] = "application/json";
    const response = await fetch(path, {
        method, headers, body: body ? JSON.stringify(body) : undefined, cache: "no-store",
        credentials: "omit", redirect: "error", signal: AbortSignal.timeout(REQUEST_MS),
    });
    let json = {};
    if (response.status !== 204) {
        try {
            json = JSON.parse(await response.text());
        } catch (error) {
            if (response.ok)
                throw error;
        }
    }
    const retryS = Number(response.headers.get("Retry-After")) || 0;
    return {status: response.status, json, retryS};
}

/* Runs one request at a time, again after a second, and later after errors. */
class Poller {
    constructor(run) {
        this.run = run;
        this.timer = 0;
        this.busy = false;
        this.again = false;
        this.delay = POLL_MS;
    }

    poke() {
        clearTimeout(this.timer);
        if (this.busy)
            this.again = true;
        else if (!document.hidden)
            this.turn();
    }

    async turn() {
        this.busy = true;
        this.again = false;
        let retryS = 0;
        try {
            retryS = await this.run() || 0;
            this.delay = POLL_MS;
        } catch (error) {
            this.delay = Math.min(this.delay * 2, RETRY_MAX_MS);
        }
        this.busy = false;
        if (this.again)
            this.poke();
        else if (!document.hidden)
            this.timer = setTimeout(() => this.poke(), Math.max(this.delay, retryS * 1000));
    }
}

/* ---- state of the server ---- */

function showState(state, text, since) {
    element("state").dataset.state = state;
    setText(element("state"), text);
    setText(element("since"), since || "");
    document.body.classList.toggle("stale", state === "unreachable");
    if (state !== "unreachable")
        unreachableSince = null;
}

function showUnreachable() {
    unreachableSince = unreachableSince || new Date();
    showState("unreachable", "Unreachable",
              "since " + unreachableSince.toLocaleTimeString("en-GB") + "; trying again");
}

function showRefusal(answer) {
    const code = answer.json.error;
    if (code === "draining")
        showState("draining", "Draining", "the server ends soon and grants nothing");
    else if (code === "standby")
        showState("draining", "Standby", "another server serves the locks");
    else
        showState("problem", code || "status " + answer.status, answer.json.detail);
}

async function pollReady() {
    const answer = await request("GET", "/ready");
    if (answer.status === 200)
        showState("ready", "Ready", "token needed for more");
    else
        showRefusal({status: answer.status, json: {error: answer.json.status}});
}

/* ---- totals and plots ---- */

function showTotals(data) {
    const totals = data.totals;
    const entries = [
        ["Connections", totals.connections], ["HTTP sessions", totals.http_sessions],
        ["Locks held", totals.locks_held], ["Lock waiters", totals.lock_waiters],
        ["Semaphore holders", totals.semaphore_holders],
        ["Semaphore waiters", totals.semaphore_waiters],
    ];
    const list = element("totals");
    entries.forEach(([name, value], index) => {
        let group = list.children[index];
        if (!group) {
            group = document.createElement("div");
            group.append(document.createElement("dt"), document.createElement("dd"));
            list.append(group);
        }
        setText(group.firstChild, name);
        setText(group.lastChild, whole.format(value));
    });
}

function addSample(data) {
    const now = Date.now();
    const waiters = data.totals.lock_waiters + data.totals.semaphore_waiters;
    const grants = data.totals.grants;
    // The server may send a kept answer again.
    if (lastTotals && data.uptime_s === lastTotals.uptime)
        return;
    let rate = null;
    if (lastTotals && data.uptime_s > lastTotals.uptime && grants >= lastTotals.grants)
        rate = (grants - lastTotals.grants) / (data.uptime_s - lastTotals.uptime);
    lastTotals = {uptime: data.uptime_s, grants};
    history.push({time: now, rate, waiters});
    history = history.filter((sample) => sample.time >= now - HISTORY_MS);
    drawAll();
}

function drawAll() {
    draw("plot-grants", "grants-now", "Grants per second", "per second", (sample) => sample.rate);
    draw("plot-waiters", "waiters-now", "Waiting clients", "clients", (sample) => sample.waiters);
}

function niceTop(value) {
    const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
    return [1, 2, 4, 5, 10].map((step) => step * power).find((top) => top >= value) || 1;
}

function svgNode(name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes))
        node.setAttribute(key, value);
    if (text !== undefined)
        node.textContent = text;
    return node;
}

function draw(id, nowId, title, unit, valueOf) {
    const svg = element(id);
    const width = svg.clientWidth || 300, height = svg.clientHeight || 128;
    const left = 48, right = width - 6, top = 12, bottom = height - 20;
    const end = Date.now();
    const values = history.map(valueOf).filter((value) => value !== null);
    const most = Math.max(0, ...values), limit = niceTop(most);
    const x = (time) => right - (end - time) / HISTORY_MS * (right - left);
    const y = (value) => bottom - value / limit * (bottom - top);
    const nodes = [];
    for (const value of [0, limit / 2, limit]) {
        nodes.push(svgNode("line", {class: "axis", x1: left, x2: right, y1: y(value),
                                    y2: y(value)}),
                   svgNode("text", {x: left - 6, y: y(value) + 4, "text-anchor": "end"},
                           whole.format(value)));
    }
    for (const minutes of width < 400 ? [5, 3, 1, 0] : [5, 4, 3, 2, 1, 0]) {
        const anchor = minutes === 5 ? "start" : minutes ? "middle" : "end";
        nodes.push(svgNode("text", {x: x(end - minutes * 60000), y: height - 4,
                                    "text-anchor": anchor},
                           minutes ? "−" + minutes + " min" : "now"));
    }
    let run = [];
    const finish = () => {
        if (run.length > 0) {
            const points = run.map(([a, b]) => a.toFixed(1) + " " + b.toFixed(1)).join("L");
            const area = "M" + points + "V" + bottom + "H" + run[0][0].toFixed(1) + "Z";
            nodes.push(svgNode("path", {class: "area", d: area}),
                       svgNode("path", {class: "curve", d: "M" + points}));
        }
        run = [];
    };
    let before = 0;
    for (const sample of history) {
        const value = valueOf(sample);
        if (value === null || sample.time - before > GAP_MS)
            finish();
        if (value !== null)
            run.push([x(sample.time), y(value)]);
        before = sample.time;
    }
    finish();
    svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    svg.replaceChildren(...nodes);
    if (values.length > 0) {
        setText(element(nowId), rateText(values.at(-1)));
        svg.setAttribute("aria-label", title + ": now " + rateText(values.at(-1)) + " " + unit +
                         ", at most " + rateText(most) + " in the last 5 minutes");
    }
}

/* ---- tables ---- */

/* Updates `body` to have a row per item, in order. Rows and the focus in them stay. */
function updateRows(body, items, idOf, build, fill) {
    const focus = document.activeElement;
    const rows = new Map([...body.children].map((row) => [row.dataset.id, row]));
    const wanted = new Set(items.map(idOf));
    for (const [id, row] of rows) {
        if (!wanted.has(id))
            row.remove();
    }
    items.forEach((item, index) => {
        const id = idOf(item);
        let row = rows.get(id);
        if (!row) {
            row = build(item);
            row.dataset.id = id;
            rows.set(id, row);
        }
        if (body.children[index] !== row)
            body.insertBefore(row, body.children[index] || null);
        fill(row, item);
    });
    if (focus && focus !== document.activeElement && focus.isConnected)
        focus.focus({preventScroll: true});
}

/* Returns a row with the cells; the first is a header. Each is [label, class]. */
function newRow(cells) {
    const row = document.createElement("tr");
    cells.forEach(([label, style], index) => {
        const cell = document.createElement(index === 0 ? "th" : "td");
        if (index === 0)
            cell.scope = "row";
        cell.className = style;
        cell.dataset.label = label;
        row.append(cell);
    });
    return row;
}

function fillRow(row, texts) {
    texts.forEach((text, index) => setText(row.children[index], text));
}

function linkOf(kind, key) {
    return "#" + kind + "/" + encodeURIComponent(key);
}

function showKeys(data) {
    updateRows(element("keys"), data.keys, (item) => item.kind + "/" + item.key, (item) => {
        const row = newRow([["Key", "code"], ["Kind", ""], ["Holders", "number"],
                            ["Waiting", "number"], ["Lease left", "number"]]);
        const link = document.createElement("a");
        link.href = linkOf(item.kind, item.key);
        link.textContent = visible(item.key);
        row.firstChild.append(link);
        return row;
    }, (row, item) => {
        const cells = row.children;
        setText(cells[1], item.kind);
        setText(cells[2], item.kind === "semaphore" ? item.holders + " of " + item.limit
                                                    : String(item.holders));
        setText(cells[3], whole.format(item.waiters));
        cells[3].classList.toggle("busy", item.waiters > 0);
        setText(cells[4], duration(item.lease_expires_in_s));
    });
    const none = data.keys.length === 0;
    const matched = whole.format(data.matched) + (data.matched === 1 ? " key" : " keys") +
        (data.matched > data.keys.length ? "; the first " + data.keys.length + " are shown" : "");
    setText(element("matched"), matched);
    element("keys-empty").hidden = !none;
    setText(element("keys-empty"), element("search").value ? "No key starts with this."
                                                           : "No client holds or waits for a key.");
    if (announceNext)
        setText(element("announce"), matched);
    announceNext = false;
}

const keysPoller = new Poller(async () => {
    if (refused) {
        try {
            await pollReady();
        } catch (error) {
            showUnreachable();
            throw error;
        }
        return 0;
    }
    const prefix = element("search").value.toWellFormed();
    let answer;
    try {
        answer = await request("GET", "/v1/keys?limit=" + KEYS_SHOWN + "&prefix=" +
                               encodeURIComponent(prefix));
    } catch (error) {
        showUnreachable();
        throw error;
    }
    if (answer.status === 401) {
        refuse();
        return 0;
    }
    if (answer.status !== 200) {
        showRefusal(answer);
        if (answer.status === 429)
            return answer.retryS;
        throw new Error(answer.json.error);
    }
    const draining = answer.json.draining;
    showState(draining ? "draining" : "ready", draining ? "Draining" : "Ready",
              "up " + duration(answer.json.uptime_s));
    showTotals(answer.json);
    addSample(answer.json);
    if (prefix === element("search").value.toWellFormed())
        showKeys(answer.json);
    return 0;
});

/* ---- one key ---- */

function pathOf({kind, key}) {
    return "/v1/" + (kind === "lock" ? "locks/" : "semaphores/") + encodeURIComponent(key);
}

function showDetailProblem(text) {
    setText(element("detail-problem"), text);
    element("detail-tables").hidden = text !== "";
    element("detail-facts").hidden = text !== "";
}

function nameOf(claim) {
    return claim.name ? visible(claim.name) : "(no name)";
}

function showDetail(key, data) {
    showDetailProblem("");
    const counts = data.holder_count + " of " + data.limit + " held";
    setText(element("detail-facts"), (data.kind === "semaphore" ? counts + ", "
        : data.holder_count + (data.holder_count === 1 ? " holder, " : " holders, ")) +
        data.waiter_count + " waiting" +
        (Math.max(data.holders.length, data.waiters.length) > CLAIMS_SHOWN
            ? "; the first " + CLAIMS_SHOWN + " of each are shown" : ""));
    updateRows(element("holders"), data.holders.slice(0, CLAIMS_SHOWN), (claim) => claim.fence,
               (claim) => {
        const row = newRow([["Name", ""], ["Address", "code"], ["Mode", ""], ["Held for", "number"],
                            ["Lease left", "number"], ["Fence", "code"], ["Action", ""]]);
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = "Revoke";
        button.setAttribute("aria-label", "Revoke the grant of " + nameOf(claim) + ", fence " +
                            claim.fence);
        button.addEventListener("click", () => askRevoke(key, claim));
        row.lastChild.append(button);
        return row;
    }, (row, claim) => fillRow(row, [nameOf(claim), claim.address || "–", claim.mode,
        duration(claim.held_s), duration(claim.lease_expires_in_s), claim.fence]));
    updateRows(element("waiters"), data.waiters.slice(0, CLAIMS_SHOWN),
               (claim) => String(claim.connection),
               () => newRow([["Position", "number"], ["Name", ""], ["Address", "code"],
                             ["Mode", ""],
                             ["Waiting for", "number"], ["Time left", "number"]]),
               (row, claim) => fillRow(row, [String(claim.position), nameOf(claim),
                   claim.address || "–", claim.mode, duration(claim.waiting_s),
                   claim.timeout_in_s === null ? "no limit" : duration(claim.timeout_in_s)]));
    element("holders-empty").hidden = data.holders.length > 0;
    element("waiters-empty").hidden = data.waiters.length > 0;
}

const detailPoller = new Poller(async () => {
    const asked = selected;
    if (!asked || refused)
        return 0;
    // Browsers remove these segments from a path, however they are encoded.
    if (asked.key === "." || asked.key === "..") {
        showDetailProblem("A browser cannot ask for this key. Use dflockctl show.");
        return 0;
    }
    const answer = await request("GET", pathOf(asked));
    if (asked !== selected)
        return 0;
    if (answer.status === 401) {
        refuse();
    } else if (answer.status === 404) {
        showDetailProblem(asked.key.includes("\ufffd")
            ? "The server has no such key. If its name has bytes that are not UTF-8, a browser " +
              "cannot ask for it. Use dflockctl show."
            : "The server has no such key: nobody holds it or waits for it.");
    } else if (answer.status !== 200) {
        if (answer.status < 500 && answer.status !== 429)
            showDetailProblem(answer.json.detail || answer.json.error || "Status " + answer.status);
        throw new Error(answer.json.error);
    } else {
        showDetail(asked, answer.json);
    }
    return 0;
});

function followLink() {
    const match = /^#(lock|semaphore)\/(.+)$/s.exec(location.hash);
    const last = selected;
    selected = null;
    if (match) {
        try {
            selected = {kind: match[1], key: decodeURIComponent(match[2])};
        } catch (error) {
            selected = null; // The link's text is not percent-encoded UTF-8.
        }
    }
    element("detail").hidden = !selected;
    element("list").hidden = Boolean(selected);
    document.title = selected ? visible(selected.key) + " – dflockd" : "dflockd";
    if (selected) {
        setText(element("detail-title"), (selected.kind === "lock" ? "Lock " : "Semaphore ") +
                visible(selected.key));
        element("holders").replaceChildren();
        element("waiters").replaceChildren();
        setText(element("detail-facts"), "");
        showDetailProblem("");
        element("detail-title").focus({preventScroll: true});
        detailPoller.poke();
    } else if (last) {
        const links = [...element("keys").querySelectorAll("a")];
        const href = linkOf(last.kind, last.key);
        const link = links.find((node) => node.getAttribute("href") === href);
        (link || element("search")).focus();
    }
}

/* ---- tokens ---- */

let afterToken = null;

function showTokenButton() {
    element("forget").hidden = !token() && !refused;
    setText(element("forget"), token() ? "Forget token" : "Enter token");
}

function refuse() {
    if (refused)
        return;
    const had = token();
    refused = true;
    sessionStorage.removeItem(TOKEN_ITEM);
    showTokenButton();
    askToken(had ? "The server does not accept this token. Enter another one."
                 : "This server asks for a token.", null);
    keysPoller.poke();
}

function askToken(text, then) {
    afterToken = then;
    setText(element("token-text"), text);
    element("token").value = "";
    if (!element("token-dialog").open)
        element("token-dialog").showModal();
    element("token").focus();
}

function acceptToken(event) {
    event.preventDefault();
    sessionStorage.setItem(TOKEN_ITEM, element("token").value);
    element("token").value = "";
    refused = false;
    const then = afterToken;
    element("token-dialog").close();
    showTokenButton();
    keysPoller.poke();
    detailPoller.poke();
    if (then)
        then();
}

function forgetToken() {
    if (token()) {
        sessionStorage.removeItem(TOKEN_ITEM);
        showTokenButton();
        keysPoller.poke();
    } else {
        askToken("This server asks for a token.", null);
    }
}

/* ---- revoke ---- */

let revocation = null; // {target, claim} that the dialog names

function askRevoke(target, claim) {
    revocation = {target, claim};
    const facts = [["Key", visible(target.key)], ["Holder", nameOf(claim)],
                   ["Address", claim.address || "–"], ["Fence", claim.fence]];
    element("revoke-facts").replaceChildren(...facts.flatMap(([name, value]) => {
        const term = document.createElement("dt"), text = document.createElement("dd");
        term.textContent = name;
        text.textContent = value;
        return [term, text];
    }));
    setText(element("revoke-problem"), "");
    element("revoke-confirm").disabled = false;
    element("revoke-dialog").showModal();
    element("revoke-cancel").focus();
}

async function revoke() {
    const {target, claim} = revocation;
    const button = element("revoke-confirm");
    button.disabled = true;
    try {
        const answer = await request("POST", pathOf(target) + "/revoke", {fence: claim.fence});
        if (answer.status === 204) {
            element("revoke-dialog").close();
            setText(element("announce"), "Revoked");
            detailPoller.poke();
            element("detail-title").focus();
            return;
        }
        if (answer.status === 401 || answer.status === 403) {
            element("revoke-dialog").close();
            askToken("Revoking needs the administrator's token." +
                     (answer.json.detail ? " The server replied: " + answer.json.detail : ""),
                     () => askRevoke(target, claim));
            return;
        }
        setText(element("revoke-problem"), answer.status === 404
            ? "The grant has already ended." : answer.json.detail || answer.json.error ||
              "Status " + answer.status);
    } catch (error) {
        setText(element("revoke-problem"),
                "No reply from the server. Check whether the grant ended.");
    }
    button.disabled = false;
}

/* ---- start ---- */

/* Keeps the focus in a dialog: the browser alone lets it leave to its own controls. */
function keepFocus(event) {
    if (event.key !== "Tab")
        return;
    const nodes = [...event.currentTarget.querySelectorAll("button:not(:disabled), input")];
    const leaves = event.shiftKey ? nodes[0] : nodes.at(-1);
    if (document.activeElement === leaves || !nodes.includes(document.activeElement)) {
        event.preventDefault();
        (event.shiftKey ? nodes.at(-1) : nodes[0]).focus();
    }
}

function start() {
    let timer = 0;
    element("search").addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(() => {
            announceNext = true;
            keysPoller.poke();
        }, SEARCH_MS);
    });
    element("skip").addEventListener("click", (event) => {
        event.preventDefault(); // The part after # names a key.
        element("content").focus();
    });
    element("forget").addEventListener("click", forgetToken);
    element("token-form").addEventListener("submit", acceptToken);
    element("token-cancel").addEventListener("click", () => element("token-dialog").close());
    element("revoke-cancel").addEventListener("click", () => element("revoke-dialog").close());
    element("revoke-confirm").addEventListener("click", revoke);
    for (const id of ["token-dialog", "revoke-dialog"])
        element(id).addEventListener("keydown", keepFocus);
    document.addEventListener("visibilitychange", () => {
        keysPoller.poke();
        detailPoller.poke();
    });
    window.addEventListener("hashchange", followLink);
    window.addEventListener("resize", drawAll);
    showTokenButton();
    drawAll();
    keysPoller.poke();
    followLink();
}

start();
