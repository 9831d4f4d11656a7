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
	label TEXT DEFAULT '' NOT NULL, 
	mentioned_at JSON DEFAULT '[]' NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (asset_id), 
	FOREIGN KEY(document_id) REFERENCES documents (document_id) ON DELETE CASCADE
);
INSERT INTO "assets" VALUES('a_89c75ec982a1c5af865a','d_b683c3fb1848a43f30e4',0,'image','image/png','537b1c769e0f0e848a977c29c9141a90c6155cc8357dafcb6a4894106785d406',8,8,1,NULL,23,'Ada King knows Ann','','','','[]',X'706978656C73206F6620416461204B696E67206B6E6F777320416E6E');
CREATE TABLE block_windows (
	block VARCHAR(200) NOT NULL, 
	last VARCHAR(40) NOT NULL, 
	PRIMARY KEY (block)
)
 WITHOUT ROWID

;
INSERT INTO "block_windows" VALUES('ann','~');
INSERT INTO "block_windows" VALUES('babbage','~');
INSERT INTO "block_windows" VALUES('bergen','~');
INSERT INTO "block_windows" VALUES('bob','~');
INSERT INTO "block_windows" VALUES('king','~');
INSERT INTO "block_windows" VALUES('norway','~');
INSERT INTO "block_windows" VALUES('oslo','~');
INSERT INTO "block_windows" VALUES('rome','~');
CREATE TABLE blocks (
	block VARCHAR(200) NOT NULL, 
	sense_id VARCHAR(40) NOT NULL, 
	PRIMARY KEY (block, sense_id)
)
 WITHOUT ROWID

;
INSERT INTO "blocks" VALUES('king','e_01cf9abf403f256bb3a3');
INSERT INTO "blocks" VALUES('norway','e_0e902277a2074b8f57ff');
INSERT INTO "blocks" VALUES('ann','e_59bae878e59770832eb5');
INSERT INTO "blocks" VALUES('norway','e_86ca2a508733f02dada3');
INSERT INTO "blocks" VALUES('ann','e_a11a15737b02082705c8');
INSERT INTO "blocks" VALUES('oslo','e_a7ec605c79bc96f9a64a');
INSERT INTO "blocks" VALUES('babbage','e_b0b3ba72e20d4e0e9741');
INSERT INTO "blocks" VALUES('bergen','e_b6d483640f14bd9cc8e3');
INSERT INTO "blocks" VALUES('rome','e_c596fd404146f295af3e');
INSERT INTO "blocks" VALUES('oslo','e_cd50646c898753bffabf');
INSERT INTO "blocks" VALUES('king','e_d6d00ff988070ece579e');
INSERT INTO "blocks" VALUES('babbage','e_dc53836eb7a42809e23b');
INSERT INTO "blocks" VALUES('bob','e_e7650ce5d66570b13278');
CREATE TABLE captions (
	asset_id VARCHAR(40) NOT NULL, 
	captioner TEXT NOT NULL, 
	score DOUBLE NOT NULL, 
	text TEXT NOT NULL, 
	lines JSON NOT NULL, 
	PRIMARY KEY (asset_id), 
	FOREIGN KEY(asset_id) REFERENCES assets (asset_id) ON DELETE CASCADE
);
INSERT INTO "captions" VALUES('a_89c75ec982a1c5af865a','alt-text',1.0,'Ada King knows Ann','[["Ada King knows Ann", "alt", 0, 18, null, 1.0]]');
CREATE TABLE changes (
	kind VARCHAR(16) NOT NULL, 
	item_id VARCHAR(40) NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (kind, item_id)
)
 WITHOUT ROWID

;
INSERT INTO "changes" VALUES('document','d_cec1f496b5e95b1fd1ed',1);
INSERT INTO "changes" VALUES('document','d_5aa7e4457fb281770c8b',2);
INSERT INTO "changes" VALUES('document','d_b683c3fb1848a43f30e4',3);
INSERT INTO "changes" VALUES('entity','e_e1453b45eedce554a26c',3);
INSERT INTO "changes" VALUES('entity','e_e7650ce5d66570b13278',3);
INSERT INTO "changes" VALUES('document','d_d92163570d4d396b4a70',4);
INSERT INTO "changes" VALUES('entity','e_01cf9abf403f256bb3a3',4);
INSERT INTO "changes" VALUES('entity','e_59bae878e59770832eb5',4);
INSERT INTO "changes" VALUES('entity','e_b0b3ba72e20d4e0e9741',4);
INSERT INTO "changes" VALUES('entity','e_b591321b2676debf7910',4);
INSERT INTO "changes" VALUES('entity','e_d6d00ff988070ece579e',4);
INSERT INTO "changes" VALUES('entity','e_dc53836eb7a42809e23b',4);
INSERT INTO "changes" VALUES('document','d_000cd3c5c8fcb8bc8f66',5);
INSERT INTO "changes" VALUES('entity','e_0e902277a2074b8f57ff',5);
INSERT INTO "changes" VALUES('entity','e_1be1fb083e92f54016c4',5);
INSERT INTO "changes" VALUES('entity','e_86ca2a508733f02dada3',5);
INSERT INTO "changes" VALUES('entity','e_a7ec605c79bc96f9a64a',5);
INSERT INTO "changes" VALUES('entity','e_cd50646c898753bffabf',5);
INSERT INTO "changes" VALUES('entity','e_ecbf291a3eebdf150d1e',5);
INSERT INTO "changes" VALUES('entity','e_a11a15737b02082705c8',6);
INSERT INTO "changes" VALUES('entity','e_b6d483640f14bd9cc8e3',6);
INSERT INTO "changes" VALUES('entity','e_c596fd404146f295af3e',6);
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
	table_id VARCHAR(40), 
	box JSON, 
	heading TEXT NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (chunk_id), 
	FOREIGN KEY(document_id) REFERENCES documents (document_id) ON DELETE CASCADE, 
	FOREIGN KEY(asset_id) REFERENCES assets (asset_id) ON DELETE CASCADE
);
INSERT INTO "chunks" VALUES('c_d1d623842afd8711cb3f','d_cec1f496b5e95b1fd1ed',0,0,21,1,1,'text',4,NULL,NULL,NULL,'','Bob. Ann born_in Oslo');
INSERT INTO "chunks" VALUES('c_f91a4dd42c4d355aa35a','d_5aa7e4457fb281770c8b',0,0,21,1,1,'text',4,NULL,NULL,NULL,'','Bob. Ann born_in Rome');
INSERT INTO "chunks" VALUES('c_2f9bd27efb4eadb6e15f','d_b683c3fb1848a43f30e4',0,0,52,1,1,'text',9,NULL,NULL,NULL,'','Ada King knows Babbage
[picture: Ada King knows Ann]');
INSERT INTO "chunks" VALUES('c_e27ba6892419a95ef6ec','d_b683c3fb1848a43f30e4',1,0,18,1,1,'image',4,'a_89c75ec982a1c5af865a',NULL,NULL,'','Ada King knows Ann');
INSERT INTO "chunks" VALUES('c_8942ce43e35447e47a81','d_d92163570d4d396b4a70',0,0,47,1,1,'text',7,NULL,NULL,NULL,'','Al King likes Babbage. Bergen capital_of Norway');
INSERT INTO "chunks" VALUES('c_6d5fa412d68cb8890015','d_000cd3c5c8fcb8bc8f66',0,0,22,1,1,'text',3,NULL,NULL,NULL,'','Oslo capital_of Norway');
CREATE TABLE contradictions (
	entity_id VARCHAR(40) NOT NULL, 
	relation TEXT NOT NULL, 
	fixed VARCHAR(4) NOT NULL, 
	triple_id VARCHAR(40) NOT NULL, 
	chunk_id VARCHAR(40) NOT NULL, 
	side TEXT NOT NULL, 
	PRIMARY KEY (entity_id, relation, fixed, triple_id), 
	FOREIGN KEY(chunk_id) REFERENCES chunks (chunk_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "contradictions" VALUES('e_a11a15737b02082705c8','born_in','head','t_08262eaa3589da119916','c_d1d623842afd8711cb3f','e_cd50646c898753bffabf');
INSERT INTO "contradictions" VALUES('e_a11a15737b02082705c8','born_in','head','t_1cbde5057502f2d74935','c_f91a4dd42c4d355aa35a','e_b6d483640f14bd9cc8e3');
CREATE TABLE decisions (
	decision_id INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	left_id VARCHAR(40) NOT NULL, 
	right_id VARCHAR(40) NOT NULL, 
	left_sources JSON NOT NULL, 
	right_sources JSON NOT NULL, 
	"by" TEXT NOT NULL, 
	at VARCHAR(40) NOT NULL, 
	undone_at VARCHAR(40) NOT NULL, 
	note TEXT NOT NULL, 
	PRIMARY KEY (decision_id)
);
INSERT INTO "decisions" VALUES(1,'same','e_b6d483640f14bd9cc8e3','e_c596fd404146f295af3e','[]','[]','','2026-11-26T02:06:27+00:00','','');
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
	equations JSON DEFAULT '[]' NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (document_id), 
	CONSTRAINT one_document_per_source UNIQUE (source)
);
INSERT INTO "documents" VALUES('d_cec1f496b5e95b1fd1ed','/docs/a.txt','a.txt','text/plain','8534405e42704525d78ef880fefda2d33ad15e02ca90f1acf1eb2779395c9b28',21,'Bob. Ann born_in Oslo',0,1,1,0,'2026-11-26T02:06:27+00:00','{}','[[1, 0, 21]]','[]','[]','Bob. Ann born_in Oslo');
INSERT INTO "documents" VALUES('d_5aa7e4457fb281770c8b','/docs/b.txt','b.txt','text/plain','53a4d09bfecf5e550fddd4f6b984d00012ebc0d6f8c4368c8a7a0ef19000959c',21,'Bob. Ann born_in Rome',0,1,1,0,'2026-11-26T02:06:27+00:00','{}','[[1, 0, 21]]','[]','[]','Bob. Ann born_in Rome');
INSERT INTO "documents" VALUES('d_b683c3fb1848a43f30e4','/docs/c.txt','c.txt','text/plain','07a84a8aca6c533d164fbec9fefdd9e749dcb52987fe388c6c0e66d3fe387ef6',53,'Ada King knows Babbage',0,1,2,1,'2026-11-26T02:06:27+00:00','{}','[[1, 0, 53]]','[]','[]','Ada King knows Babbage
[picture: Ada King knows Ann]
');
INSERT INTO "documents" VALUES('d_d92163570d4d396b4a70','/docs/d.txt','d.txt','text/plain','f8c5f47b47ffee250001ea59ea2f4e0ed17498831716d849e5574b341b43fb1c',47,'Al King likes Babbage. Bergen capital_of Norway',0,1,1,0,'2026-11-26T02:06:27+00:00','{}','[[1, 0, 47]]','[]','[]','Al King likes Babbage. Bergen capital_of Norway');
INSERT INTO "documents" VALUES('d_000cd3c5c8fcb8bc8f66','/docs/e.txt','e.txt','text/plain','5a2ba6029dbe8f603ceaa376c94e7909fb2f581afff9039a5367426c827dc97d',22,'Oslo capital_of Norway',0,1,1,0,'2026-11-26T02:06:27+00:00','{}','[[1, 0, 22]]','[]','[]','Oslo capital_of Norway');
CREATE TABLE entities (
	entity_id VARCHAR(40) NOT NULL, 
	name TEXT NOT NULL, 
	type TEXT NOT NULL, 
	aliases JSON NOT NULL, 
	n_mentions INTEGER NOT NULL, 
	n_documents INTEGER NOT NULL, 
	PRIMARY KEY (entity_id)
);
INSERT INTO "entities" VALUES('e_e7650ce5d66570b13278','Bob','NAME','[]',2,2);
INSERT INTO "entities" VALUES('e_59bae878e59770832eb5','Ann','NAME','[]',2,1);
INSERT INTO "entities" VALUES('e_a11a15737b02082705c8','Ann','NAME','[]',2,2);
INSERT INTO "entities" VALUES('e_01cf9abf403f256bb3a3','Ada King','NAME','["Al King"]',4,2);
INSERT INTO "entities" VALUES('e_b0b3ba72e20d4e0e9741','Babbage','NAME','[]',1,1);
INSERT INTO "entities" VALUES('e_b6d483640f14bd9cc8e3','Bergen','NAME','["Rome"]',2,2);
INSERT INTO "entities" VALUES('e_dc53836eb7a42809e23b','Babbage','NAME','[]',1,1);
INSERT INTO "entities" VALUES('e_0e902277a2074b8f57ff','Norway','NAME','[]',1,1);
INSERT INTO "entities" VALUES('e_86ca2a508733f02dada3','Norway','NAME','[]',1,1);
INSERT INTO "entities" VALUES('e_a7ec605c79bc96f9a64a','Oslo','NAME','[]',1,1);
INSERT INTO "entities" VALUES('e_cd50646c898753bffabf','Oslo','NAME','[]',1,1);
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
INSERT INTO "entity_names" VALUES('e_01cf9abf403f256bb3a3','Ada King','NAME','ada king',3);
INSERT INTO "entity_names" VALUES('e_01cf9abf403f256bb3a3','Al King','NAME','al king',1);
INSERT INTO "entity_names" VALUES('e_0e902277a2074b8f57ff','Norway','NAME','norway',1);
INSERT INTO "entity_names" VALUES('e_59bae878e59770832eb5','Ann','NAME','ann',2);
INSERT INTO "entity_names" VALUES('e_86ca2a508733f02dada3','Norway','NAME','norway',1);
INSERT INTO "entity_names" VALUES('e_a11a15737b02082705c8','Ann','NAME','ann',2);
INSERT INTO "entity_names" VALUES('e_a7ec605c79bc96f9a64a','Oslo','NAME','oslo',1);
INSERT INTO "entity_names" VALUES('e_b0b3ba72e20d4e0e9741','Babbage','NAME','babbage',1);
INSERT INTO "entity_names" VALUES('e_b6d483640f14bd9cc8e3','Bergen','NAME','bergen',1);
INSERT INTO "entity_names" VALUES('e_b6d483640f14bd9cc8e3','Rome','NAME','rome',1);
INSERT INTO "entity_names" VALUES('e_cd50646c898753bffabf','Oslo','NAME','oslo',1);
INSERT INTO "entity_names" VALUES('e_dc53836eb7a42809e23b','Babbage','NAME','babbage',1);
INSERT INTO "entity_names" VALUES('e_e7650ce5d66570b13278','Bob','NAME','bob',2);
CREATE TABLE job_items (
	job_id VARCHAR(40) NOT NULL, 
	ordinal INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_try_at DOUBLE, 
	seconds DOUBLE NOT NULL, 
	document_id VARCHAR(40) NOT NULL, 
	error_code VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	source TEXT NOT NULL, 
	root TEXT NOT NULL, 
	message TEXT NOT NULL, 
	outcomes JSON NOT NULL, 
	PRIMARY KEY (job_id, ordinal), 
	FOREIGN KEY(job_id) REFERENCES jobs (job_id) ON DELETE CASCADE
);
CREATE TABLE jobs (
	job_id VARCHAR(40) NOT NULL, 
	number INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	created_at DOUBLE NOT NULL, 
	updated_at DOUBLE NOT NULL, 
	heartbeat_at DOUBLE NOT NULL, 
	is_cancel_asked BOOLEAN NOT NULL, 
	owner_host TEXT NOT NULL, 
	owner_pid INTEGER NOT NULL, 
	owner_started DOUBLE NOT NULL, 
	message TEXT NOT NULL, 
	request JSON NOT NULL, 
	PRIMARY KEY (job_id), 
	UNIQUE (number)
);
CREATE TABLE links (
	left_id VARCHAR(40) NOT NULL, 
	right_id VARCHAR(40) NOT NULL, 
	score DOUBLE NOT NULL, 
	is_automatic BOOLEAN NOT NULL, 
	reasons JSON NOT NULL, 
	PRIMARY KEY (left_id, right_id)
)
 WITHOUT ROWID

;
INSERT INTO "links" VALUES('e_01cf9abf403f256bb3a3','e_d6d00ff988070ece579e',0.625,1,'["same last word and initial", "both beside babbage"]');
CREATE TABLE locals (
	name_id VARCHAR(40) NOT NULL, 
	local_id VARCHAR(40) NOT NULL, 
	document_id VARCHAR(40) NOT NULL, 
	source_id VARCHAR(40) NOT NULL, 
	sense_id VARCHAR(40) NOT NULL, 
	entity_id VARCHAR(40) NOT NULL, 
	uses JSON NOT NULL, 
	features JSON NOT NULL, 
	PRIMARY KEY (name_id, local_id), 
	FOREIGN KEY(document_id) REFERENCES documents (document_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "locals" VALUES('e_01cf9abf403f256bb3a3','l_e555f7634c133c32a12d','d_d92163570d4d396b4a70','s_e7a23c0ddc92d542f863','e_01cf9abf403f256bb3a3','e_01cf9abf403f256bb3a3','[["Al King", "NAME", 1]]','["babbage", "bergen", "norway"]');
INSERT INTO "locals" VALUES('e_1be1fb083e92f54016c4','l_a9cd3b07597176fcf0b9','d_cec1f496b5e95b1fd1ed','s_1eac57dbf0c636f4167c','e_cd50646c898753bffabf','e_cd50646c898753bffabf','[["Oslo", "NAME", 1]]','["ann", "bob"]');
INSERT INTO "locals" VALUES('e_1be1fb083e92f54016c4','l_ce74619af9cd68d91d57','d_000cd3c5c8fcb8bc8f66','s_c32c42d72fa4d1aaa2f4','e_a7ec605c79bc96f9a64a','e_a7ec605c79bc96f9a64a','[["Oslo", "NAME", 1]]','["norway"]');
INSERT INTO "locals" VALUES('e_b591321b2676debf7910','l_1f2eee90bd596a6db68f','d_b683c3fb1848a43f30e4','s_59acf6edbafcb6098644','e_dc53836eb7a42809e23b','e_dc53836eb7a42809e23b','[["Babbage", "NAME", 1]]','["ada king", "ann"]');
INSERT INTO "locals" VALUES('e_b591321b2676debf7910','l_c91a14b748fbb44f66d9','d_d92163570d4d396b4a70','s_e7a23c0ddc92d542f863','e_b0b3ba72e20d4e0e9741','e_b0b3ba72e20d4e0e9741','[["Babbage", "NAME", 1]]','["al king", "bergen", "norway"]');
INSERT INTO "locals" VALUES('e_b6d483640f14bd9cc8e3','l_2682b3fdeac3078a3da1','d_d92163570d4d396b4a70','s_e7a23c0ddc92d542f863','e_b6d483640f14bd9cc8e3','e_b6d483640f14bd9cc8e3','[["Bergen", "NAME", 1]]','["al king", "babbage", "norway"]');
INSERT INTO "locals" VALUES('e_c596fd404146f295af3e','l_bc87ad70a866cf07bbb8','d_5aa7e4457fb281770c8b','s_f7200a6989b5a09562c0','e_c596fd404146f295af3e','e_b6d483640f14bd9cc8e3','[["Rome", "NAME", 1]]','["ann", "bob"]');
INSERT INTO "locals" VALUES('e_d6d00ff988070ece579e','l_3ca4bcfd633af2155a54','d_b683c3fb1848a43f30e4','s_59acf6edbafcb6098644','e_d6d00ff988070ece579e','e_01cf9abf403f256bb3a3','[["Ada King", "NAME", 3]]','["ann", "babbage"]');
INSERT INTO "locals" VALUES('e_e1453b45eedce554a26c','l_3ae6a02421909450a1cb','d_cec1f496b5e95b1fd1ed','s_1eac57dbf0c636f4167c','e_a11a15737b02082705c8','e_a11a15737b02082705c8','[["Ann", "NAME", 1]]','["bob", "oslo"]');
INSERT INTO "locals" VALUES('e_e1453b45eedce554a26c','l_779f5edc0e171f7aa7b4','d_5aa7e4457fb281770c8b','s_f7200a6989b5a09562c0','e_a11a15737b02082705c8','e_a11a15737b02082705c8','[["Ann", "NAME", 1]]','["bob", "rome"]');
INSERT INTO "locals" VALUES('e_e1453b45eedce554a26c','l_ea5a44eebdcfda00dccf','d_b683c3fb1848a43f30e4','s_59acf6edbafcb6098644','e_59bae878e59770832eb5','e_59bae878e59770832eb5','[["Ann", "NAME", 2]]','["ada king", "babbage"]');
INSERT INTO "locals" VALUES('e_e7650ce5d66570b13278','l_35213b6a654c5f96f856','d_5aa7e4457fb281770c8b','s_f7200a6989b5a09562c0','e_e7650ce5d66570b13278','e_e7650ce5d66570b13278','[["Bob", "NAME", 1]]','["ann", "rome"]');
INSERT INTO "locals" VALUES('e_e7650ce5d66570b13278','l_c52eb1a819151cc7f1c7','d_cec1f496b5e95b1fd1ed','s_1eac57dbf0c636f4167c','e_e7650ce5d66570b13278','e_e7650ce5d66570b13278','[["Bob", "NAME", 1]]','["ann", "oslo"]');
INSERT INTO "locals" VALUES('e_ecbf291a3eebdf150d1e','l_1141dea32f9857b6105a','d_000cd3c5c8fcb8bc8f66','s_c32c42d72fa4d1aaa2f4','e_86ca2a508733f02dada3','e_86ca2a508733f02dada3','[["Norway", "NAME", 1]]','["oslo"]');
INSERT INTO "locals" VALUES('e_ecbf291a3eebdf150d1e','l_b9f7f2b360f7018371af','d_d92163570d4d396b4a70','s_e7a23c0ddc92d542f863','e_0e902277a2074b8f57ff','e_0e902277a2074b8f57ff','[["Norway", "NAME", 1]]','["al king", "babbage", "bergen"]');
CREATE TABLE mentions (
	chunk_id VARCHAR(40) NOT NULL, 
	mention_id VARCHAR(40) NOT NULL, 
	entity_id VARCHAR(40) NOT NULL, 
	local_id VARCHAR(40) DEFAULT '' NOT NULL, 
	start INTEGER NOT NULL, 
	"end" INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	source TEXT NOT NULL, 
	score DOUBLE NOT NULL, 
	value TEXT DEFAULT '' NOT NULL, 
	refers_to VARCHAR(40) DEFAULT '' NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (chunk_id, mention_id), 
	FOREIGN KEY(chunk_id) REFERENCES chunks (chunk_id) ON DELETE CASCADE, 
	FOREIGN KEY(entity_id) REFERENCES entities (entity_id)
);
INSERT INTO "mentions" VALUES('c_d1d623842afd8711cb3f','m_452ab19ab6a5767ac13d','e_e7650ce5d66570b13278','l_c52eb1a819151cc7f1c7',0,3,'NAME','capitals',1.0,'','','Bob');
INSERT INTO "mentions" VALUES('c_d1d623842afd8711cb3f','m_59aaa53d7077135c4f5e','e_a11a15737b02082705c8','l_3ae6a02421909450a1cb',5,8,'NAME','capitals',1.0,'','','Ann');
INSERT INTO "mentions" VALUES('c_d1d623842afd8711cb3f','m_08f5dc8ede8c6b276e12','e_cd50646c898753bffabf','l_a9cd3b07597176fcf0b9',17,21,'NAME','capitals',1.0,'','','Oslo');
INSERT INTO "mentions" VALUES('c_f91a4dd42c4d355aa35a','m_b1b06a69bd1c146cc645','e_e7650ce5d66570b13278','l_35213b6a654c5f96f856',0,3,'NAME','capitals',1.0,'','','Bob');
INSERT INTO "mentions" VALUES('c_f91a4dd42c4d355aa35a','m_2c5dde62a4a3e96db6b8','e_a11a15737b02082705c8','l_779f5edc0e171f7aa7b4',5,8,'NAME','capitals',1.0,'','','Ann');
INSERT INTO "mentions" VALUES('c_f91a4dd42c4d355aa35a','m_a11e88076f8d114f4ed9','e_b6d483640f14bd9cc8e3','l_bc87ad70a866cf07bbb8',17,21,'NAME','capitals',1.0,'','','Rome');
INSERT INTO "mentions" VALUES('c_2f9bd27efb4eadb6e15f','m_8dedac816f2f2501b65c','e_01cf9abf403f256bb3a3','l_3ca4bcfd633af2155a54',0,8,'NAME','capitals',1.0,'','','Ada King');
INSERT INTO "mentions" VALUES('c_2f9bd27efb4eadb6e15f','m_b4fcc58a249af118fdcf','e_dc53836eb7a42809e23b','l_1f2eee90bd596a6db68f',15,22,'NAME','capitals',1.0,'','','Babbage');
INSERT INTO "mentions" VALUES('c_2f9bd27efb4eadb6e15f','m_e4825036219a7be8f389','e_01cf9abf403f256bb3a3','l_3ca4bcfd633af2155a54',33,41,'NAME','capitals',1.0,'','','Ada King');
INSERT INTO "mentions" VALUES('c_2f9bd27efb4eadb6e15f','m_098fb51ee43c7002caa0','e_59bae878e59770832eb5','l_ea5a44eebdcfda00dccf',48,51,'NAME','capitals',1.0,'','','Ann');
INSERT INTO "mentions" VALUES('c_e27ba6892419a95ef6ec','m_e8bf47d8ba011f42ac6e','e_01cf9abf403f256bb3a3','l_3ca4bcfd633af2155a54',0,8,'NAME','capitals',1.0,'','','Ada King');
INSERT INTO "mentions" VALUES('c_e27ba6892419a95ef6ec','m_d3c9ec47953657896fb2','e_59bae878e59770832eb5','l_ea5a44eebdcfda00dccf',15,18,'NAME','capitals',1.0,'','','Ann');
INSERT INTO "mentions" VALUES('c_8942ce43e35447e47a81','m_a3649fc9a0f9d4aebfdf','e_01cf9abf403f256bb3a3','l_e555f7634c133c32a12d',0,7,'NAME','capitals',1.0,'','','Al King');
INSERT INTO "mentions" VALUES('c_8942ce43e35447e47a81','m_5f04b452f2aa51190f10','e_b0b3ba72e20d4e0e9741','l_c91a14b748fbb44f66d9',14,21,'NAME','capitals',1.0,'','','Babbage');
INSERT INTO "mentions" VALUES('c_8942ce43e35447e47a81','m_0fedf2ddb70698f8a892','e_b6d483640f14bd9cc8e3','l_2682b3fdeac3078a3da1',23,29,'NAME','capitals',1.0,'','','Bergen');
INSERT INTO "mentions" VALUES('c_8942ce43e35447e47a81','m_67412cf491446dd00933','e_0e902277a2074b8f57ff','l_b9f7f2b360f7018371af',41,47,'NAME','capitals',1.0,'','','Norway');
INSERT INTO "mentions" VALUES('c_6d5fa412d68cb8890015','m_3aa695862e7c052c357c','e_a7ec605c79bc96f9a64a','l_ce74619af9cd68d91d57',0,4,'NAME','capitals',1.0,'','','Oslo');
INSERT INTO "mentions" VALUES('c_6d5fa412d68cb8890015','m_afc0850a063ee06567bf','e_86ca2a508733f02dada3','l_1141dea32f9857b6105a',16,22,'NAME','capitals',1.0,'','','Norway');
CREATE TABLE meta (
	id INTEGER NOT NULL, 
	schema_version INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	matcher TEXT DEFAULT '' NOT NULL, 
	functional TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "meta" VALUES(1,4,6,'company-1','[["born at", "head"], ["born in", "head"], ["born on", "head"], ["buried in", "head"], ["capital of", "both"], ["date of birth", "head"], ["date of death", "head"], ["die in", "head"], ["die on", "head"], ["died in", "head"], ["died on", "head"], ["established in", "head"], ["established on", "head"], ["founded in", "head"], ["founded on", "head"], ["incorporated in", "head"], ["place of birth", "head"], ["place of death", "head"]]');
CREATE TABLE names (
	name_id VARCHAR(40) NOT NULL, 
	n_locals INTEGER NOT NULL, 
	n_senses INTEGER NOT NULL, 
	last_sampled VARCHAR(40) NOT NULL, 
	PRIMARY KEY (name_id)
)
 WITHOUT ROWID

;
INSERT INTO "names" VALUES('e_01cf9abf403f256bb3a3',1,1,'');
INSERT INTO "names" VALUES('e_1be1fb083e92f54016c4',2,2,'');
INSERT INTO "names" VALUES('e_b591321b2676debf7910',2,2,'');
INSERT INTO "names" VALUES('e_b6d483640f14bd9cc8e3',1,1,'');
INSERT INTO "names" VALUES('e_c596fd404146f295af3e',1,1,'');
INSERT INTO "names" VALUES('e_d6d00ff988070ece579e',1,1,'');
INSERT INTO "names" VALUES('e_e1453b45eedce554a26c',3,2,'');
INSERT INTO "names" VALUES('e_e7650ce5d66570b13278',2,1,'');
INSERT INTO "names" VALUES('e_ecbf291a3eebdf150d1e',2,2,'');
CREATE TABLE picture_vectors (
	sha256 VARCHAR(64) NOT NULL, 
	encoder VARCHAR(200) NOT NULL, 
	vector BLOB NOT NULL, 
	PRIMARY KEY (sha256, encoder)
);
CREATE TABLE senses (
	sense_id VARCHAR(40) NOT NULL, 
	name_id VARCHAR(40) NOT NULL, 
	entity_id VARCHAR(40) NOT NULL, 
	n_documents INTEGER NOT NULL, 
	profile JSON NOT NULL, 
	PRIMARY KEY (sense_id)
)
 WITHOUT ROWID

;
INSERT INTO "senses" VALUES('e_01cf9abf403f256bb3a3','e_01cf9abf403f256bb3a3','e_01cf9abf403f256bb3a3',1,'[[["Al King", "NAME", 1]], [["babbage", 1], ["bergen", 1], ["norway", 1]], 1]');
INSERT INTO "senses" VALUES('e_0e902277a2074b8f57ff','e_ecbf291a3eebdf150d1e','e_0e902277a2074b8f57ff',1,'[[["Norway", "NAME", 1]], [["al king", 1], ["babbage", 1], ["bergen", 1]], 1]');
INSERT INTO "senses" VALUES('e_59bae878e59770832eb5','e_e1453b45eedce554a26c','e_59bae878e59770832eb5',1,'[[["Ann", "NAME", 2]], [["ada king", 1], ["babbage", 1]], 1]');
INSERT INTO "senses" VALUES('e_86ca2a508733f02dada3','e_ecbf291a3eebdf150d1e','e_86ca2a508733f02dada3',1,'[[["Norway", "NAME", 1]], [["oslo", 1]], 1]');
INSERT INTO "senses" VALUES('e_a11a15737b02082705c8','e_e1453b45eedce554a26c','e_a11a15737b02082705c8',2,'[[["Ann", "NAME", 2]], [["bob", 2], ["oslo", 1], ["rome", 1]], 2]');
INSERT INTO "senses" VALUES('e_a7ec605c79bc96f9a64a','e_1be1fb083e92f54016c4','e_a7ec605c79bc96f9a64a',1,'[[["Oslo", "NAME", 1]], [["norway", 1]], 1]');
INSERT INTO "senses" VALUES('e_b0b3ba72e20d4e0e9741','e_b591321b2676debf7910','e_b0b3ba72e20d4e0e9741',1,'[[["Babbage", "NAME", 1]], [["al king", 1], ["bergen", 1], ["norway", 1]], 1]');
INSERT INTO "senses" VALUES('e_b6d483640f14bd9cc8e3','e_b6d483640f14bd9cc8e3','e_b6d483640f14bd9cc8e3',1,'[[["Bergen", "NAME", 1]], [["al king", 1], ["babbage", 1], ["norway", 1]], 1]');
INSERT INTO "senses" VALUES('e_c596fd404146f295af3e','e_c596fd404146f295af3e','e_b6d483640f14bd9cc8e3',1,'[[["Rome", "NAME", 1]], [["ann", 1], ["bob", 1]], 1]');
INSERT INTO "senses" VALUES('e_cd50646c898753bffabf','e_1be1fb083e92f54016c4','e_cd50646c898753bffabf',1,'[[["Oslo", "NAME", 1]], [["ann", 1], ["bob", 1]], 1]');
INSERT INTO "senses" VALUES('e_d6d00ff988070ece579e','e_d6d00ff988070ece579e','e_01cf9abf403f256bb3a3',1,'[[["Ada King", "NAME", 3]], [["ann", 1], ["babbage", 1]], 1]');
INSERT INTO "senses" VALUES('e_dc53836eb7a42809e23b','e_b591321b2676debf7910','e_dc53836eb7a42809e23b',1,'[[["Babbage", "NAME", 1]], [["ada king", 1], ["ann", 1]], 1]');
INSERT INTO "senses" VALUES('e_e7650ce5d66570b13278','e_e7650ce5d66570b13278','e_e7650ce5d66570b13278',2,'[[["Bob", "NAME", 2]], [["ann", 2], ["oslo", 1], ["rome", 1]], 2]');
CREATE TABLE tables (
	table_id VARCHAR(40) NOT NULL, 
	document_id VARCHAR(40) NOT NULL, 
	asset_id VARCHAR(40), 
	ordinal INTEGER NOT NULL, 
	source VARCHAR(16) NOT NULL, 
	page INTEGER NOT NULL, 
	box JSON, 
	start INTEGER, 
	"end" INTEGER, 
	n_header_rows INTEGER NOT NULL, 
	score DOUBLE NOT NULL, 
	label TEXT NOT NULL, 
	caption TEXT NOT NULL, 
	row_spans JSON NOT NULL, 
	text TEXT NOT NULL, 
	rows JSON NOT NULL, 
	PRIMARY KEY (table_id), 
	FOREIGN KEY(document_id) REFERENCES documents (document_id) ON DELETE CASCADE, 
	FOREIGN KEY(asset_id) REFERENCES assets (asset_id) ON DELETE CASCADE
);
CREATE TABLE triples (
	chunk_id VARCHAR(40) NOT NULL, 
	triple_id VARCHAR(40) NOT NULL, 
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
	head_label TEXT NOT NULL, 
	head_value TEXT NOT NULL, 
	tail_label TEXT NOT NULL, 
	tail_value TEXT NOT NULL, 
	PRIMARY KEY (chunk_id, triple_id), 
	FOREIGN KEY(chunk_id) REFERENCES chunks (chunk_id) ON DELETE CASCADE
);
INSERT INTO "triples" VALUES('c_d1d623842afd8711cb3f','t_7a1788266e6658222d26','m_452ab19ab6a5767ac13d','m_59aaa53d7077135c4f5e','e_e7650ce5d66570b13278','beside','e_a11a15737b02082705c8','extracted',0,8,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_d1d623842afd8711cb3f','t_08262eaa3589da119916','m_59aaa53d7077135c4f5e','m_08f5dc8ede8c6b276e12','e_a11a15737b02082705c8','born_in','e_cd50646c898753bffabf','extracted',5,21,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_f91a4dd42c4d355aa35a','t_f09952bfa443ebf1a18c','m_b1b06a69bd1c146cc645','m_2c5dde62a4a3e96db6b8','e_e7650ce5d66570b13278','beside','e_a11a15737b02082705c8','extracted',0,8,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_f91a4dd42c4d355aa35a','t_1cbde5057502f2d74935','m_2c5dde62a4a3e96db6b8','m_a11e88076f8d114f4ed9','e_a11a15737b02082705c8','born_in','e_b6d483640f14bd9cc8e3','extracted',5,21,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_2f9bd27efb4eadb6e15f','t_6a3cc3f4e8b254329b39','m_8dedac816f2f2501b65c','m_b4fcc58a249af118fdcf','e_01cf9abf403f256bb3a3','knows','e_dc53836eb7a42809e23b','extracted',0,22,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_2f9bd27efb4eadb6e15f','t_c66c519a92a804a8f098','m_b4fcc58a249af118fdcf','m_e4825036219a7be8f389','e_dc53836eb7a42809e23b','picture','e_01cf9abf403f256bb3a3','extracted',15,41,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_2f9bd27efb4eadb6e15f','t_28bced42c1a34ba846cf','m_e4825036219a7be8f389','m_098fb51ee43c7002caa0','e_01cf9abf403f256bb3a3','knows','e_59bae878e59770832eb5','extracted',33,51,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_e27ba6892419a95ef6ec','t_d50f3b9cf33197e49c46','m_e8bf47d8ba011f42ac6e','m_d3c9ec47953657896fb2','e_01cf9abf403f256bb3a3','knows','e_59bae878e59770832eb5','extracted',0,18,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_8942ce43e35447e47a81','t_1dcc9c756bf9123003a5','m_a3649fc9a0f9d4aebfdf','m_5f04b452f2aa51190f10','e_01cf9abf403f256bb3a3','likes','e_b0b3ba72e20d4e0e9741','extracted',0,21,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_8942ce43e35447e47a81','t_95fd3398e9f514c35551','m_5f04b452f2aa51190f10','m_0fedf2ddb70698f8a892','e_b0b3ba72e20d4e0e9741','beside','e_b6d483640f14bd9cc8e3','extracted',14,29,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_8942ce43e35447e47a81','t_20eb156e74a6e3ee554c','m_0fedf2ddb70698f8a892','m_67412cf491446dd00933','e_b6d483640f14bd9cc8e3','capital_of','e_0e902277a2074b8f57ff','extracted',23,47,'capitalised-words',0.5,'NAME','','NAME','');
INSERT INTO "triples" VALUES('c_6d5fa412d68cb8890015','t_03dd6203196524413eaa','m_3aa695862e7c052c357c','m_afc0850a063ee06567bf','e_a7ec605c79bc96f9a64a','capital_of','e_86ca2a508733f02dada3','extracted',0,22,'capitalised-words',0.5,'NAME','','NAME','');
CREATE TABLE vectors (
	chunk_id VARCHAR(40) NOT NULL, 
	encoder VARCHAR(200) NOT NULL, 
	content VARCHAR(40) DEFAULT '' NOT NULL, 
	vector BLOB NOT NULL, 
	PRIMARY KEY (chunk_id, encoder), 
	FOREIGN KEY(chunk_id) REFERENCES chunks (chunk_id) ON DELETE CASCADE
);
INSERT INTO "vectors" VALUES('c_d1d623842afd8711cb3f','test','x_of_a',X'0000803F0000803F0000803F0000803F');
CREATE INDEX senses_of_name ON senses (name_id);
CREATE INDEX senses_of_entity ON senses (entity_id);
CREATE INDEX blocks_of_sense ON blocks (sense_id);
CREATE INDEX links_of_right ON links (right_id);
CREATE INDEX decisions_on_left ON decisions (left_id);
CREATE INDEX decisions_on_right ON decisions (right_id);
CREATE INDEX changes_by_version ON changes (version);
CREATE INDEX assets_of_document ON assets (document_id, ordinal);
CREATE INDEX assets_by_content ON assets (sha256);
CREATE INDEX entity_names_folded ON entity_names (folded);
CREATE INDEX locals_of_document ON locals (document_id);
CREATE INDEX locals_of_source ON locals (source_id);
CREATE INDEX job_items_by_state ON job_items (job_id, state, ordinal);
CREATE INDEX tables_of_document ON tables (document_id, ordinal);
CREATE INDEX tables_of_asset ON tables (asset_id);
CREATE INDEX chunks_of_asset ON chunks (asset_id);
CREATE INDEX chunks_of_document ON chunks (document_id, ordinal, chunk_id);
CREATE INDEX mentions_of_entity ON mentions (entity_id, local_id);
CREATE INDEX triples_of_tail ON triples (tail_id, name);
CREATE INDEX triples_of_relation ON triples (head_id, name, tail_id, origin);
CREATE INDEX vectors_by_content ON vectors (content);
CREATE INDEX contradictions_of_chunk ON contradictions (chunk_id);
COMMIT;
