"""What scripts/vendor-client.mjs runs: the vendor's client against two simulators, compared with a file of the same day."""

import hashlib
import json
import sys
import threading
import time
from pathlib import Path

import databento as db
import numpy as np
from databento.common.error import BentoClientError, BentoError
from databento_dbn import Compression

setting = json.loads(sys.argv[1])
simulator = setting["simulator"]
DATASET = "DBEQ.BASIC"
DAY = ("2026-01-05", "2026-01-06")
SYMBOLS = ["AA", "AC", "AZ"]

failures = 0


def check(what, got, expected):
    global failures
    same = got == expected
    failures += not same
    print(f"{'ok  ' if same else 'FAIL'} {what}: {got}" + ("" if same else f", expected {expected}"), flush=True)


truth = db.DBNStore.from_file(setting["truth"])
all_trades = list(truth)
id_of = {symbol: int(entry[0]["symbol"]) for symbol, entry in truth.mappings.items()}
of_symbols = [r for r in all_trades if r.instrument_id in {id_of[s] for s in SYMBOLS}]


def connect(sim=simulator, key=None, **options):
    """A live client. The gateway takes five new connections per second; above, this client waits for half a minute."""
    time.sleep(0.25)
    return db.Live(key=key or sim["key"], gateway="127.0.0.1", port=sim["live_port"], **options)


def live(expected, symbols, sim=simulator, stop_at=None, **options):
    """Streams until as many trades as expected are there; gives trades and all other records."""
    start = options.pop("start", None)
    client = connect(sim, **options)
    trades, others, done = [], [], threading.Event()

    def on_record(record):
        (trades if isinstance(record, db.TradeMsg) else others).append(record)
        if len(trades) >= expected:
            done.set()

    client.subscribe(dataset=DATASET, schema="trades", stype_in="raw_symbol", symbols=symbols, start=start)
    client.add_callback(on_record)
    client.start()
    done.wait(60)
    client.stop()
    try:
        client.block_for_close(timeout=10)
    except BentoError as error:
        # The client turns any error record of a session, harmless ones too, into an exception at its end.
        if not any(isinstance(o, db.ErrorMsg) for o in others):
            raise error
    return trades, others


def compare(what, trades, expected, ts_out=False):
    check(f"{what}: trades", len(trades), len(expected))
    cut = slice(0, 48)
    same = all(bytes(a)[1:48] == bytes(b)[1:48] for a, b in zip(trades, expected))
    check(f"{what}: every record byte for byte", same, True)
    if trades:
        for name, index in (("first", 0), ("last", -1)):
            a, b = trades[index], expected[index]
            check(
                f"{what}: {name}",
                (a.ts_event, a.instrument_id, a.price, a.size, str(a.side), a.sequence),
                (b.ts_event, b.instrument_id, b.price, b.size, str(b.side), b.sequence),
            )
    if ts_out and trades:
        check(f"{what}: ts_out not before ts_recv", all(t.ts_out >= t.ts_recv for t in trades), True)


print(f"databento {db.__version__}, Python {sys.version.split()[0]}")

print("\nlive")
trades, others = live(len(of_symbols), SYMBOLS)
compare("raw_symbol", trades, of_symbols)
mapped = {o.stype_out_symbol: o.instrument_id for o in others if isinstance(o, db.SymbolMappingMsg)}
check("raw_symbol: mappings", mapped, {s: id_of[s] for s in SYMBOLS})
acks = [o.msg for o in others if isinstance(o, db.SystemMsg)]
check("raw_symbol: system messages", acks, ["Subscription request 0 for trades data succeeded"])

trades, others = live(len(all_trades), "ALL_SYMBOLS")
compare("ALL_SYMBOLS", trades, all_trades)
mapped = {o.stype_out_symbol: o.instrument_id for o in others if isinstance(o, db.SymbolMappingMsg)}
check("ALL_SYMBOLS: mappings", mapped == id_of, True)

trades, others = live(len(of_symbols), SYMBOLS + ["NOPE"], ts_out=True, compression=Compression.ZSTD)
compare("zstd and ts_out", trades, of_symbols, ts_out=True)
errors = [(o.code, o.err) for o in others if isinstance(o, db.ErrorMsg)]
check("unknown symbol", [str(e[1]) for e in errors], ["Failed to resolve symbol NOPE"])

late = setting["late"]
trades, others = live(len(all_trades), "ALL_SYMBOLS", sim=late, start=0)
compare("replay, then live", trades, all_trades)
finished = [o.msg for o in others if isinstance(o, db.SystemMsg) and "replay" in o.msg]
check("replay: completed", finished, ["Finished trades replay"])



def live_bytes(schema, count, **options):
    """Records of another schema as bytes, in the order of arrival, and the system messages."""
    client = connect()
    records, messages, done = [], [], threading.Event()

    def on_record(record):
        if isinstance(record, db.SystemMsg):
            messages.append(record.msg)
        elif not isinstance(record, db.SymbolMappingMsg):
            records.append(bytes(record))
        if len(records) >= count:
            done.set()

    client.subscribe(dataset=DATASET, schema=schema, **options)
    client.add_callback(on_record)
    client.start()
    done.wait(60)
    client.stop()
    client.block_for_close(timeout=10)
    return records, messages


hist = db.Historical(key=simulator["key"], gateway=f"https://127.0.0.1:{simulator['http_port']}")
for schema in ("mbp-1", "definition", "ohlcv-1h"):
    expected = [bytes(r) for r in hist.timeseries.get_range(DATASET, *DAY, schema=schema)]
    records, messages = live_bytes(schema, len(expected))
    check(f"{schema}: live equals get_range, {len(expected)} records", records == expected, True)
records, messages = live_bytes("trades", len(of_symbols), stype_in="instrument_id", symbols=[id_of[s] for s in SYMBOLS])
check("instrument_id: records", records == [bytes(r) for r in of_symbols], True)

try:
    wrong = connect(key="db-" + "x" * 29)
    wrong.subscribe(dataset=DATASET, schema="trades", symbols="AA")
    check("wrong key", "accepted", "refused")
except BentoError as error:
    check("wrong key", "Authentication failed." in str(error), True)

print("\nhistorical")
store = hist.timeseries.get_range(DATASET, *DAY, symbols=SYMBOLS, schema="trades")
compare("get_range raw_symbol", list(store), of_symbols)
check("get_range: mapped symbols", sorted(store.to_df()["symbol"].unique().tolist()), SYMBOLS)
store = hist.timeseries.get_range(DATASET, *DAY, schema="trades")
check("get_range ALL_SYMBOLS: equal arrays", bool(np.array_equal(store.to_ndarray(), truth.to_ndarray())), True)
store = hist.timeseries.get_range(DATASET, *DAY, schema="trades", limit=10)
compare("get_range limit", list(store), all_trades[:10])
bars = hist.timeseries.get_range(DATASET, *DAY, symbols="AA", schema="ohlcv-1d")
volume = sum(r.size for r in all_trades if r.instrument_id == id_of["AA"])
check("get_range ohlcv-1d: volume", sum(r.volume for r in bars), volume)
check("get_range definition", len(list(hist.timeseries.get_range(DATASET, *DAY, schema="definition"))), len(id_of))

resolved = hist.symbology.resolve(DATASET, SYMBOLS + ["NOPE"], "raw_symbol", "instrument_id", *DAY)
expected = {s: [{"d0": DAY[0], "d1": DAY[1], "s": str(id_of[s])}] for s in SYMBOLS}
check("symbology.resolve", resolved["result"], expected)
check("symbology.resolve: not found", (resolved["not_found"], resolved["partial"]), (["NOPE"], []))

check("list_datasets", hist.metadata.list_datasets(), [DATASET])
schemas = hist.metadata.list_schemas(DATASET)
check("list_schemas", schemas, ["mbp-1", "trades", "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d", "definition"])
check("list_publishers", len(hist.metadata.list_publishers()), 153)
fields = hist.metadata.list_fields("trades", "dbn")
check("list_fields", [f["name"] for f in fields][:5], ["length", "rtype", "publisher_id", "instrument_id", "ts_event"])
check("list_unit_prices", [p["mode"] for p in hist.metadata.list_unit_prices(DATASET)], ["historical", "historical-streaming", "live"])
condition = hist.metadata.get_dataset_condition(DATASET, DAY[0], DAY[0])
check("get_dataset_condition", [c["condition"] for c in condition], ["available"])
check("get_dataset_range", hist.metadata.get_dataset_range(DATASET)["start"], "2026-01-05T00:00:00.000000000Z")
check("get_record_count", hist.metadata.get_record_count(DATASET, *DAY, symbols=SYMBOLS), len(of_symbols))
check("get_billable_size", hist.metadata.get_billable_size(DATASET, *DAY, symbols=SYMBOLS), 48 * len(of_symbols))
check("get_cost", hist.metadata.get_cost(DATASET, *DAY, symbols=SYMBOLS) > 0, True)

print("\nbatch")
job = hist.batch.submit_job(DATASET, SYMBOLS, "trades", *DAY)
check("submit_job: state", job["state"], "queued")
check("list_jobs", [j["id"] for j in hist.batch.list_jobs()], [job["id"]])
check("get_job_details: records", hist.batch.get_job_details(job["id"])["record_count"], len(of_symbols))
files = {f["filename"]: f for f in hist.batch.list_files(job["id"])}
data_name = "dbeq-basic-20260105.trades.dbn.zst"
check("list_files", sorted(files), sorted([data_name, "condition.json", "manifest.json", "metadata.json", "symbology.json"]))
out = Path(setting["folder"])
one = hist.batch.download(job["id"], out / "one", filename_to_download=data_name)
check("download one: sha256", "sha256:" + hashlib.sha256(one[0].read_bytes()).hexdigest(), files[data_name]["hash"])
compare("download one", list(db.DBNStore.from_file(one[0])), of_symbols)
# A download that was interrupted goes on where it stopped.
whole = one[0].read_bytes()
one[0].write_bytes(whole[: len(whole) // 3])
again = hist.batch.download(job["id"], out / "one", filename_to_download=data_name)
check("download resumed by Range", again[0].read_bytes() == whole, True)
everything = hist.batch.download(job["id"], out / "all")
check("download as ZIP", sorted(p.name for p in everything), sorted(files))
check("download as ZIP: equal", (out / "all" / job["id"] / data_name).read_bytes() == whole, True)

print("\nerrors")
try:
    db.Historical(key="db-" + "x" * 29, gateway=f"https://127.0.0.1:{simulator['http_port']}").metadata.list_datasets()
    check("wrong key", "accepted", "refused")
except BentoClientError as error:
    check("wrong key", error.http_status, 401)
try:
    hist.timeseries.get_range(DATASET, *DAY, symbols="NOPE")
    check("no symbol resolved", "accepted", "refused")
except BentoClientError as error:
    check("no symbol resolved", (error.http_status, error.json_body["detail"]["case"]), (422, "symbology_invalid_request"))

print(f"\n{'all right' if failures == 0 else f'{failures} differences'}")
sys.exit(1 if failures else 0)
