/**
 * Publishers: a publisher is one venue in one dataset, and its name is always `DATASET.VENUE`, so venue and dataset
 * names and one pair of numbers per publisher are all there is to keep. State of the
 * vendor's Python client 0.87 (November 2026): 153 publishers, 53 datasets, 71 venues. Ids are appended by the vendor; unknown ones have no name and must not fail.
 */

/** Venue codes; venue id N is entry N - 1. */
export const venues: ReadonlyArray<string> = (
  "GLBX XNAS XBOS XPSX BATS BATY EDGA EDGX XNYS XCIS XASE ARCX XCHI IEXG FINN FINC FINY MEMX EPRL AMXO XBOX XCBO " +
  "EMLD EDGO GMNI XISX MCRY XMIO ARCO OPRA MPRL XNDQ XBXO C2OX XPHL BATO MXOP IFEU NDEX DBEQ SPHR LTSE XOFF ASPN " +
  "ASMT ASPI EQUS IFUS IFLL XEUR XEEE XCBF OCEA MXTO IEXO MAIN TXSE 24EQ CTA UTP XADF MSCI FTSE INAV MSTAR CCCY " +
  "CGI CDEF XTKS XTKT XOSE"
).split(" ")

/** Dataset codes; dataset id N is entry N - 1. */
export const datasets: ReadonlyArray<string> = (
  "GLBX.MDP3 XNAS.ITCH XBOS.ITCH XPSX.ITCH BATS.PITCH BATY.PITCH EDGA.PITCH EDGX.PITCH XNYS.PILLAR XCIS.PILLAR " +
  "XASE.PILLAR XCHI.PILLAR XCIS.BBO XCIS.TRADES MEMX.MEMOIR EPRL.DOM FINN.NLS FINY.TRADES OPRA.PILLAR DBEQ.BASIC " +
  "ARCX.PILLAR IEXG.TOPS EQUS.PLUS XNYS.BBO XNYS.TRADES XNAS.QBBO XNAS.NLS IFEU.IMPACT NDEX.IMPACT EQUS.ALL " +
  "XNAS.BASIC EQUS.SUMMARY XCIS.TRADESBBO XNYS.TRADESBBO EQUS.MINI IFUS.IMPACT IFLL.IMPACT XEUR.EOBI XEEE.EOBI " +
  "XCBF.PITCH OCEA.MEMOIR MAIN.CGIF EQUS.SIP MSCI.CGIF FTSE.CGIF INAV.CGIF MSTAR.CGIF CCCY.CGIF CGI.CGIF " +
  "XTKS.FLEX XTKT.ITCH XOSE.ITCH DBIX.CORE"
).split(" ")

/** Publishers by dataset: dataset id, then publisher id and venue of each. */
const byDataset = `
1 1:GLBX|2 2:XNAS|3 3:XBOS|4 4:XPSX|5 5:BATS|6 6:BATY|7 7:EDGA|8 8:EDGX|9 9:XNYS|10 10:XCIS|11 11:XASE|12 12:XCHI
13 13:XCIS|14 14:XCIS|15 15:MEMX|16 16:EPRL
19 20:AMXO 21:XBOX 22:XCBO 23:EMLD 24:EDGO 25:GMNI 26:XISX 27:MCRY 28:XMIO 29:ARCO 30:OPRA 31:MPRL 32:XNDQ 33:XBXO 34:C2OX 35:XPHL 36:BATO 37:MXOP 61:SPHR 108:MXTO 109:IEXO
20 39:XCHI 40:XCIS 41:IEXG 42:EPRL 59:DBEQ|21 43:ARCX|22 38:IEXG
23 48:XCHI 49:XCIS 50:IEXG 51:EPRL 52:XNAS 53:XNYS 54:FINN 55:FINY 56:FINC 60:EQUS|24 44:XNYS
25 19:FINY 45:XNYS 96:EQUS|26 46:XNAS|27 17:FINN 18:FINC 47:XNAS 86:XBOS 87:XPSX|28 57:IFEU 84:XOFF|29 58:NDEX 85:XOFF
30 62:XCHI 63:XCIS 64:IEXG 65:EPRL 66:XNAS 67:XNYS 68:FINN 69:FINY 70:FINC 71:BATS 72:BATY 73:EDGA 74:EDGX 75:XBOS 76:XPSX 77:MEMX 78:XASE 79:ARCX 80:LTSE 94:EQUS
31 81:XNAS 82:FINN 83:FINC 88:XBOS 89:XPSX 93:EQUS|32 90:EQUS|33 91:XCIS|34 92:XNYS|35 95:EQUS
36 97:IFUS 98:XOFF|37 99:IFLL 100:XOFF|38 101:XEUR 103:XOFF|39 102:XEEE 104:XOFF|40 105:XCBF 106:XOFF|41 107:OCEA
42 110:MAIN 142:CDEF
43 111:XASE 112:XBOS 113:XCIS 114:TXSE 115:24EQ 116:EPRL 117:XISX 118:EDGA 119:EDGX 120:LTSE 121:XCHI 122:XNYS 123:ARCX 124:XNAS 125:MEMX 126:IEXG 127:XPSX 128:BATY 129:BATS 130:FINN 131:FINY 132:FINC 133:XADF 134:CTA 135:UTP
44 136:MSCI|45 137:FTSE|46 138:INAV|47 139:MSTAR|48 140:CCCY|49 141:CGI|50 143:XTKS|51 144:XTKT|52 145:XOSE
53 146:MAIN 147:MSCI 148:FTSE 149:INAV 150:MSTAR 151:CCCY 152:CGI 153:CDEF`

/** `(datasetIndex << 8) | venueIndex` by publisher id; 0xffff where there is none. */
const packed: Uint16Array = (() => {
  const table = new Uint16Array(154).fill(0xffff)
  for (const group of byDataset.trim().split(/[|\n]/)) {
    const [dataset, ...members] = group.split(" ")
    for (const member of members) {
      const [id, venue] = member.split(":") as [string, string]
      table[Number(id)] = ((Number(dataset) - 1) << 8) | venues.indexOf(venue)
    }
  }
  return table
})()

/** One publisher. */
export interface Publisher {
  readonly id: number
  readonly dataset: string
  readonly venue: string
  /** `DATASET.VENUE` */
  readonly name: string
}

/** Largest publisher id that has a name here. */
export const MAX_PUBLISHER = packed.length - 1

/** Venue of a publisher id, undefined where the id is unknown. */
export const venueOf = (publisher: number): string | undefined => {
  const pair = packed[publisher]
  return pair === undefined || pair === 0xffff ? undefined : venues[pair & 0xff]
}

/** Dataset of a publisher id, undefined where the id is unknown. */
export const datasetOf = (publisher: number): string | undefined => {
  const pair = packed[publisher]
  return pair === undefined || pair === 0xffff ? undefined : datasets[pair >> 8]
}

/** A publisher by id, undefined where the id is unknown. */
export const publisherOf = (id: number): Publisher | undefined => {
  const dataset = datasetOf(id)
  const venue = venueOf(id)
  return dataset === undefined || venue === undefined
    ? undefined
    : { id, dataset, venue, name: `${dataset}.${venue}` }
}

/** Every known publisher, by id. */
export const publishers = (): ReadonlyArray<Publisher> =>
  Array.from({ length: MAX_PUBLISHER }, (_, i) => publisherOf(i + 1)).filter((p) => p !== undefined)

/** Id of a name such as `GLBX.MDP3.GLBX`, undefined where it is unknown. */
export const publisherId = (name: string): number | undefined => publishers().find((p) => p.name === name)?.id
