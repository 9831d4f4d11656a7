BEGIN TRANSACTION;
CREATE TABLE assets (
	asset_id VARCHAR(40) NOT NULL, 
	document_id VARCHAR(40) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	media_type TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	width_px INTEGER NOT NULL, 
	height_px INTEGER NOT NULL, 
	page INTEGER NOT NULL, 
	box JSON, 
	anchor INTEGER NOT NULL, 
	alt_text TEXT NOT NULL, 
	caption TEXT NOT NULL, 
	surrounding_text TEXT NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (asset_id), 
	FOREIGN KEY(document_id) REFERENCES documents (document_id) ON DELETE CASCADE
);
INSERT INTO "assets" VALUES('a_ed7100785d187eff2a58','d_21071cacc90801626b44',0,'image','image/png','a7702199de3fbaa36e019f155f2fd51cbcdb26b7735d43578d9ec830bea034f1',8,8,1,NULL,43,'Marie Curie beside Pierre Curie','','',X'706978656C73206F66204D617269652043757269652062657369646520506965727265204375726965');
CREATE TABLE captions (
	asset_id VARCHAR(40) NOT NULL, 
	captioner TEXT NOT NULL, 
	score DOUBLE NOT NULL, 
	text TEXT NOT NULL, 
	lines JSON NOT NULL, 
	PRIMARY KEY (asset_id), 
	FOREIGN KEY(asset_id) REFERENCES assets (asset_id) ON DELETE CASCADE
);
INSERT INTO "captions" VALUES('a_ed7100785d187eff2a58','alt-text',1.0,'Marie Curie beside Pierre Curie','[["Marie Curie beside Pierre Curie", "alt", 0, 31, null, 1.0]]');
CREATE TABLE chunks (
	chunk_id VARCHAR(40) NOT NULL, 
	document_id VARCHAR(40) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	start INTEGER NOT NULL, 
	"end" INTEGER NOT NULL, 
	page_first INTEGER NOT NULL, 
	page_last INTEGER NOT NULL, 
	modality VARCHAR(16) NOT NULL, 
	n_tokens INTEGER NOT NULL, 
	asset_id VARCHAR(40), 
	box JSON, 
	heading TEXT NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (chunk_id), 
	FOREIGN KEY(document_id) REFERENCES documents (document_id) ON DELETE CASCADE, 
	FOREIGN KEY(asset_id) REFERENCES assets (asset_id) ON DELETE CASCADE
);
INSERT INTO "chunks" VALUES('c_5e7dfab2a83c89db711c','d_21071cacc90801626b44',0,0,41,1,1,'text',6,NULL,NULL,'','Marie Curie discovered Polonium in Paris.');
INSERT INTO "chunks" VALUES('c_d04b93c469d8780baa33','d_21071cacc90801626b44',1,87,106,2,2,'text',4,NULL,NULL,'','Paris is in France.');
INSERT INTO "chunks" VALUES('c_664bf8fb15e113d9aaa6','d_21071cacc90801626b44',2,0,31,1,1,'image',5,'a_ed7100785d187eff2a58',NULL,'','Marie Curie beside Pierre Curie');
INSERT INTO "chunks" VALUES('c_ecb4af0c78b4700cf9ee','d_92c84feb06fd3706aa73',0,0,54,1,1,'text',9,NULL,NULL,'','Leonhard Euler lived in Basel. Basel lies near France.');
INSERT INTO "chunks" VALUES('c_804cbb8252a06629014c','d_92c84feb06fd3706aa73',1,56,88,1,1,'text',5,NULL,NULL,'','MARIE CURIE read Leonhard Euler.');
CREATE TABLE contributions (
	document_id VARCHAR(40) NOT NULL, 
	entity_id VARCHAR(40) NOT NULL, 
	surface TEXT NOT NULL, 
	label VARCHAR(64) NOT NULL, 
	n_mentions INTEGER NOT NULL, 
	PRIMARY KEY (document_id, entity_id, surface, label), 
	FOREIGN KEY(document_id) REFERENCES documents (document_id) ON DELETE CASCADE, 
	FOREIGN KEY(entity_id) REFERENCES entities (entity_id)
)
 WITHOUT ROWID

;
INSERT INTO "contributions" VALUES('d_21071cacc90801626b44','e_4497d0b3f57184e800ac','Marie Curie','NAME',2);
INSERT INTO "contributions" VALUES('d_21071cacc90801626b44','e_6477dbe808837af9b9b1','Pierre Curie','NAME',1);
INSERT INTO "contributions" VALUES('d_21071cacc90801626b44','e_9946937ca4d18848d913','Polonium','NAME',1);
INSERT INTO "contributions" VALUES('d_21071cacc90801626b44','e_aff36c0a7eec6ef817d4','Paris','NAME',2);
INSERT INTO "contributions" VALUES('d_21071cacc90801626b44','e_c40210e5356f1ac16cdc','France','NAME',1);
INSERT INTO "contributions" VALUES('d_92c84feb06fd3706aa73','e_100154d8973ae8680ecc','Basel','NAME',2);
INSERT INTO "contributions" VALUES('d_92c84feb06fd3706aa73','e_4497d0b3f57184e800ac','MARIE CURIE','NAME',1);
INSERT INTO "contributions" VALUES('d_92c84feb06fd3706aa73','e_b61e1f26e6f1924133df','Leonhard Euler','NAME',2);
INSERT INTO "contributions" VALUES('d_92c84feb06fd3706aa73','e_c40210e5356f1ac16cdc','France','NAME',1);
CREATE TABLE documents (
	document_id VARCHAR(40) NOT NULL, 
	source TEXT NOT NULL, 
	name TEXT NOT NULL, 
	media_type TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	n_bytes INTEGER NOT NULL, 
	title TEXT NOT NULL, 
	is_paged BOOLEAN NOT NULL, 
	n_pages INTEGER NOT NULL, 
	n_chunks INTEGER NOT NULL, 
	n_assets INTEGER NOT NULL, 
	added_at VARCHAR(40) NOT NULL, 
	metadata JSON NOT NULL, 
	pages JSON NOT NULL, 
	headings JSON NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (document_id), 
	CONSTRAINT one_document_per_source UNIQUE (source)
);
INSERT INTO "documents" VALUES('d_21071cacc90801626b44','/docs/curie.txt','curie.txt','text/plain','0f7db6f3e933596ab7ffc65bbf5a12d5cb6455516c03cdb02e8482109f30f8fc',106,'Marie Curie discovered Polonium in Paris.',1,2,3,1,'2026-01-01T00:00:00+00:00','{}','[[1, 0, 86], [2, 87, 106]]','[]','Marie Curie discovered Polonium in Paris.

[picture: Marie Curie beside Pierre Curie]
Paris is in France.');
INSERT INTO "documents" VALUES('d_92c84feb06fd3706aa73','/docs/euler.txt','euler.txt','text/plain','ed40cc7bc503ab5382c209c3ecc9f67acd8cac9bb7fba085f62c4981abb8eada',88,'Leonhard Euler lived in Basel. Basel lies near France.',0,1,2,0,'2026-01-01T00:00:00+00:00','{}','[[1, 0, 88]]','[]','Leonhard Euler lived in Basel. Basel lies near France.

MARIE CURIE read Leonhard Euler.');
CREATE TABLE entities (
	entity_id VARCHAR(40) NOT NULL, 
	name TEXT NOT NULL, 
	type TEXT NOT NULL, 
	aliases JSON NOT NULL, 
	n_mentions INTEGER NOT NULL, 
	n_documents INTEGER NOT NULL, 
	PRIMARY KEY (entity_id)
);
INSERT INTO "entities" VALUES('e_4497d0b3f57184e800ac','Marie Curie','NAME','["MARIE CURIE"]',3,2);
INSERT INTO "entities" VALUES('e_6477dbe808837af9b9b1','Pierre Curie','NAME','[]',1,1);
INSERT INTO "entities" VALUES('e_9946937ca4d18848d913','Polonium','NAME','[]',1,1);
INSERT INTO "entities" VALUES('e_aff36c0a7eec6ef817d4','Paris','NAME','[]',2,1);
INSERT INTO "entities" VALUES('e_c40210e5356f1ac16cdc','France','NAME','[]',2,2);
INSERT INTO "entities" VALUES('e_100154d8973ae8680ecc','Basel','NAME','[]',2,1);
INSERT INTO "entities" VALUES('e_b61e1f26e6f1924133df','Leonhard Euler','NAME','[]',2,1);
CREATE TABLE entity_names (
	entity_id VARCHAR(40) NOT NULL, 
	surface TEXT NOT NULL, 
	label VARCHAR(64) NOT NULL, 
	folded TEXT NOT NULL, 
	n_mentions INTEGER NOT NULL, 
	PRIMARY KEY (entity_id, surface, label), 
	FOREIGN KEY(entity_id) REFERENCES entities (entity_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "entity_names" VALUES('e_100154d8973ae8680ecc','Basel','NAME','basel',2);
INSERT INTO "entity_names" VALUES('e_4497d0b3f57184e800ac','MARIE CURIE','NAME','marie curie',1);
INSERT INTO "entity_names" VALUES('e_4497d0b3f57184e800ac','Marie Curie','NAME','marie curie',2);
INSERT INTO "entity_names" VALUES('e_6477dbe808837af9b9b1','Pierre Curie','NAME','pierre curie',1);
INSERT INTO "entity_names" VALUES('e_9946937ca4d18848d913','Polonium','NAME','polonium',1);
INSERT INTO "entity_names" VALUES('e_aff36c0a7eec6ef817d4','Paris','NAME','paris',2);
INSERT INTO "entity_names" VALUES('e_b61e1f26e6f1924133df','Leonhard Euler','NAME','leonhard euler',2);
INSERT INTO "entity_names" VALUES('e_c40210e5356f1ac16cdc','France','NAME','france',2);
CREATE TABLE mentions (
	mention_id VARCHAR(40) NOT NULL, 
	chunk_id VARCHAR(40) NOT NULL, 
	entity_id VARCHAR(40) NOT NULL, 
	start INTEGER NOT NULL, 
	"end" INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	source TEXT NOT NULL, 
	score DOUBLE NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (mention_id), 
	FOREIGN KEY(chunk_id) REFERENCES chunks (chunk_id) ON DELETE CASCADE, 
	FOREIGN KEY(entity_id) REFERENCES entities (entity_id)
);
INSERT INTO "mentions" VALUES('m_92fc8730129b7bdffc74','c_5e7dfab2a83c89db711c','e_4497d0b3f57184e800ac',0,11,'NAME','capitals',1.0,'Marie Curie');
INSERT INTO "mentions" VALUES('m_81d366f3dd4ef609d15a','c_5e7dfab2a83c89db711c','e_9946937ca4d18848d913',23,31,'NAME','capitals',1.0,'Polonium');
INSERT INTO "mentions" VALUES('m_d55fb8f6561daa9c9b7c','c_5e7dfab2a83c89db711c','e_aff36c0a7eec6ef817d4',35,40,'NAME','capitals',1.0,'Paris');
INSERT INTO "mentions" VALUES('m_632a6aaadc73a5bb4f1e','c_d04b93c469d8780baa33','e_aff36c0a7eec6ef817d4',87,92,'NAME','capitals',1.0,'Paris');
INSERT INTO "mentions" VALUES('m_5e0facbab4250b5ec49c','c_d04b93c469d8780baa33','e_c40210e5356f1ac16cdc',99,105,'NAME','capitals',1.0,'France');
INSERT INTO "mentions" VALUES('m_f7c5741786a31be0e497','c_664bf8fb15e113d9aaa6','e_4497d0b3f57184e800ac',0,11,'NAME','capitals',1.0,'Marie Curie');
INSERT INTO "mentions" VALUES('m_94c808299d07877968c2','c_664bf8fb15e113d9aaa6','e_6477dbe808837af9b9b1',19,31,'NAME','capitals',1.0,'Pierre Curie');
INSERT INTO "mentions" VALUES('m_bf915925330babb1ea47','c_ecb4af0c78b4700cf9ee','e_b61e1f26e6f1924133df',0,14,'NAME','capitals',1.0,'Leonhard Euler');
INSERT INTO "mentions" VALUES('m_d95d15ca1d811a517d89','c_ecb4af0c78b4700cf9ee','e_100154d8973ae8680ecc',24,29,'NAME','capitals',1.0,'Basel');
INSERT INTO "mentions" VALUES('m_39dfee4203d1cc899a25','c_ecb4af0c78b4700cf9ee','e_100154d8973ae8680ecc',31,36,'NAME','capitals',1.0,'Basel');
INSERT INTO "mentions" VALUES('m_421cbc940d74c6740eea','c_ecb4af0c78b4700cf9ee','e_c40210e5356f1ac16cdc',47,53,'NAME','capitals',1.0,'France');
INSERT INTO "mentions" VALUES('m_f560681f1faa9b07d2f5','c_804cbb8252a06629014c','e_4497d0b3f57184e800ac',56,67,'NAME','capitals',1.0,'MARIE CURIE');
INSERT INTO "mentions" VALUES('m_aa685f53ffa314680727','c_804cbb8252a06629014c','e_b61e1f26e6f1924133df',73,87,'NAME','capitals',1.0,'Leonhard Euler');
CREATE TABLE meta (
	id INTEGER NOT NULL, 
	schema_version INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "meta" VALUES(1,1,2);
CREATE TABLE triples (
	triple_id VARCHAR(40) NOT NULL, 
	chunk_id VARCHAR(40) NOT NULL, 
	head_mention_id VARCHAR(40) NOT NULL, 
	tail_mention_id VARCHAR(40) NOT NULL, 
	head_id VARCHAR(40) NOT NULL, 
	name TEXT NOT NULL, 
	tail_id VARCHAR(40) NOT NULL, 
	origin VARCHAR(16) NOT NULL, 
	start INTEGER NOT NULL, 
	"end" INTEGER NOT NULL, 
	extractor TEXT NOT NULL, 
	score DOUBLE NOT NULL, 
	PRIMARY KEY (triple_id), 
	FOREIGN KEY(chunk_id) REFERENCES chunks (chunk_id) ON DELETE CASCADE, 
	FOREIGN KEY(head_mention_id) REFERENCES mentions (mention_id) ON DELETE CASCADE, 
	FOREIGN KEY(tail_mention_id) REFERENCES mentions (mention_id) ON DELETE CASCADE
);
INSERT INTO "triples" VALUES('t_43d49c2d65bd40d2d190','c_5e7dfab2a83c89db711c','m_92fc8730129b7bdffc74','m_81d366f3dd4ef609d15a','e_4497d0b3f57184e800ac','discovered','e_9946937ca4d18848d913','extracted',0,31,'capitalised-words',0.5);
INSERT INTO "triples" VALUES('t_9b05d328072ed2485eb1','c_5e7dfab2a83c89db711c','m_81d366f3dd4ef609d15a','m_d55fb8f6561daa9c9b7c','e_9946937ca4d18848d913','in','e_aff36c0a7eec6ef817d4','extracted',23,40,'capitalised-words',0.5);
INSERT INTO "triples" VALUES('t_62fa1f13bdf0b96b5ce7','c_d04b93c469d8780baa33','m_632a6aaadc73a5bb4f1e','m_5e0facbab4250b5ec49c','e_aff36c0a7eec6ef817d4','is_in','e_c40210e5356f1ac16cdc','extracted',87,105,'capitalised-words',0.5);
INSERT INTO "triples" VALUES('t_2c948b2d779a604843a1','c_664bf8fb15e113d9aaa6','m_f7c5741786a31be0e497','m_94c808299d07877968c2','e_4497d0b3f57184e800ac','beside','e_6477dbe808837af9b9b1','extracted',0,31,'capitalised-words',0.5);
INSERT INTO "triples" VALUES('t_ef787645effd1e23aacf','c_ecb4af0c78b4700cf9ee','m_bf915925330babb1ea47','m_d95d15ca1d811a517d89','e_b61e1f26e6f1924133df','lived_in','e_100154d8973ae8680ecc','extracted',0,29,'capitalised-words',0.5);
INSERT INTO "triples" VALUES('t_346728d5c0d39faae520','c_ecb4af0c78b4700cf9ee','m_d95d15ca1d811a517d89','m_39dfee4203d1cc899a25','e_100154d8973ae8680ecc','beside','e_100154d8973ae8680ecc','extracted',24,36,'capitalised-words',0.5);
INSERT INTO "triples" VALUES('t_e665c4e3e9eedd819b09','c_ecb4af0c78b4700cf9ee','m_39dfee4203d1cc899a25','m_421cbc940d74c6740eea','e_100154d8973ae8680ecc','lies_near','e_c40210e5356f1ac16cdc','extracted',31,53,'capitalised-words',0.5);
INSERT INTO "triples" VALUES('t_f4ed0c1c8c0e893fabdb','c_804cbb8252a06629014c','m_f560681f1faa9b07d2f5','m_aa685f53ffa314680727','e_4497d0b3f57184e800ac','read','e_b61e1f26e6f1924133df','extracted',56,87,'capitalised-words',0.5);
CREATE TABLE vectors (
	chunk_id VARCHAR(40) NOT NULL, 
	encoder VARCHAR(200) NOT NULL, 
	vector BLOB NOT NULL, 
	PRIMARY KEY (chunk_id, encoder), 
	FOREIGN KEY(chunk_id) REFERENCES chunks (chunk_id) ON DELETE CASCADE
);
INSERT INTO "vectors" VALUES('c_5e7dfab2a83c89db711c','test',X'0000803F0000803F');
CREATE INDEX assets_of_document ON assets (document_id, ordinal);
CREATE INDEX entity_names_folded ON entity_names (folded);
CREATE INDEX contributions_to_entity ON contributions (entity_id);
CREATE INDEX chunks_of_document ON chunks (document_id, ordinal, chunk_id);
CREATE INDEX chunks_of_asset ON chunks (asset_id);
CREATE INDEX mentions_of_chunk ON mentions (chunk_id, start);
CREATE INDEX mentions_of_entity ON mentions (entity_id);
CREATE INDEX triples_of_head_mention ON triples (head_mention_id);
CREATE INDEX triples_of_tail_mention ON triples (tail_mention_id);
CREATE INDEX triples_of_chunk ON triples (chunk_id, start);
CREATE INDEX triples_of_relation ON triples (head_id, name, tail_id, origin);
CREATE INDEX triples_of_tail ON triples (tail_id);
COMMIT;
