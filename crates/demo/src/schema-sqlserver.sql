-- An institution's own table, as its own developers made it: Spanish names, texts as status codes, local times
-- without a zone, and columns that are nobody's business but the institution's.
CREATE TABLE dbo.servicios (
    codigo varchar(20) NOT NULL PRIMARY KEY,
    nombre nvarchar(100) NOT NULL
);

CREATE TABLE dbo.estados (
    codigo      varchar(20) NOT NULL PRIMARY KEY,
    descripcion nvarchar(100) NOT NULL
);

CREATE TABLE dbo.solicitudes (
    id                 bigint IDENTITY NOT NULL PRIMARY KEY,
    numero             varchar(40) NOT NULL UNIQUE,
    servicio           varchar(20) NOT NULL,
    solicitante        nvarchar(200) NOT NULL,
    cedula             varchar(20) NOT NULL,
    provincia          nvarchar(60) NOT NULL,
    monto              decimal(12, 2) NOT NULL,
    estado             varchar(20) NOT NULL,
    observaciones      nvarchar(max) NULL,
    fecha_apertura     datetime2(6) NOT NULL,
    fecha_modificacion datetime2(6) NOT NULL
);
