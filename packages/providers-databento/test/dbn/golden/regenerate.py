"""Makes the goldens of this folder from the vendor's Python package, an implementation of its own.

    python3 -m venv VENV && VENV/bin/pip install databento-dbn numpy zstandard
    VENV/bin/python regenerate.py TESTDATA/dbn

layouts.json: offset, width and name of every field of every struct and version, reserved ones left out.
vendor-text.json: SHA-256 of what the vendor's transcoder prints for each test file (CSV and JSON, raw and pretty).
Files without records are left out of CSV: the vendor prints a header line for them, a renderer of records does not.
"""

import hashlib
import io
import json
import os
import sys

import databento_dbn as dbn
import numpy as np
import zstandard

HERE = os.path.dirname(os.path.abspath(__file__))

STRUCTS = {
    "mbo": dbn.MBOMsg,
    "trade": dbn.TradeMsg,
    "mbp1": dbn.MBP1Msg,
    "mbp10": dbn.MBP10Msg,
    "bbo": dbn.BBOMsg,
    "cmbp1": dbn.CMBP1Msg,
    "cbbo": dbn.CBBOMsg,
    "ohlcv": dbn.OHLCVMsg,
    "status": dbn.StatusMsg,
    "imbalance": dbn.ImbalanceMsg,
    "stat_v1": dbn.v1.StatMsg,
    "stat": dbn.StatMsg,
    "error_v1": dbn.v1.ErrorMsg,
    "error": dbn.ErrorMsg,
    "symbol_mapping_v1": dbn.v1.SymbolMappingMsg,
    "symbol_mapping": dbn.SymbolMappingMsg,
    "system_v1": dbn.v1.SystemMsg,
    "system": dbn.SystemMsg,
    "instrument_def_v1": dbn.v1.InstrumentDefMsg,
    "instrument_def_v2": dbn.v2.InstrumentDefMsg,
    "instrument_def": dbn.InstrumentDefMsg,
}


def layout(struct):
    dtype = np.dtype(struct._dtypes)
    fields = [
        [int(dtype.fields[name][1]), dtype.fields[name][0].itemsize, name]
        for name in dtype.names
        if not name.startswith("_")
    ]
    return {"size": dtype.itemsize, "fields": fields}


def plain(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"\x28\xb5\x2f\xfd":
        return data
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    return reader.read()


def transcode(data, encoding, pretty):
    out = io.BytesIO()
    transcoder = dbn.Transcoder(
        out,
        encoding,
        dbn.Compression.NONE,
        pretty_px=pretty,
        pretty_ts=pretty,
        map_symbols=pretty,
        upgrade_policy=dbn.VersionUpgradePolicy.AS_IS,
    )
    transcoder.write(data)
    transcoder.flush()
    return out.getvalue()


def main(folder):
    with open(os.path.join(HERE, "layouts.json"), "w") as file:
        rows = (f'"{name}":{json.dumps(layout(struct), separators=(",", ":"))}' for name, struct in STRUCTS.items())
        file.write("{\n" + ",\n".join(rows) + "\n}\n")
    texts = {}
    for name in sorted(os.listdir(folder)):
        if ".dbn" not in name or ".frag" in name:
            continue
        data = plain(os.path.join(folder, name))
        for key, encoding in (("csv", dbn.Encoding.CSV), ("json", dbn.Encoding.JSON)):
            for style in ("raw", "pretty"):
                try:
                    text = transcode(data, encoding, style == "pretty")
                except Exception as error:  # the vendor has no CSV for mixed streams
                    print(name, key, style, error, file=sys.stderr)
                    continue
                if key == "csv" and text.count(b"\n") < 2:
                    continue
                texts[f"{name} {key} {style}"] = hashlib.sha256(text).hexdigest()
    with open(os.path.join(HERE, "vendor-text.json"), "w") as file:
        json.dump(texts, file, indent=2)
        file.write("\n")


main(sys.argv[1])
