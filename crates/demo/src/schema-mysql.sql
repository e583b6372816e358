-- An institution's own table, as its own developers made it: Spanish names, texts as status codes, local times
-- without a zone, and columns that are nobody's business but the institution's.
CREATE TABLE servicios (
    codigo varchar(20) PRIMARY KEY,
    nombre varchar(100) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4;

CREATE TABLE estados (
    codigo      varchar(20) PRIMARY KEY,
    descripcion varchar(100) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4;

CREATE TABLE solicitudes (
    id                 bigint AUTO_INCREMENT PRIMARY KEY,
    numero             varchar(40) NOT NULL UNIQUE,
    servicio           varchar(20) NOT NULL,
    solicitante        varchar(200) NOT NULL,
    cedula             varchar(20) NOT NULL,
    provincia          varchar(60) NOT NULL,
    monto              decimal(12, 2) NOT NULL,
    estado             varchar(20) NOT NULL,
    observaciones      text,
    fecha_apertura     datetime(6) NOT NULL,
    fecha_modificacion datetime(6) NOT NULL,
    FOREIGN KEY (servicio) REFERENCES servicios (codigo),
    FOREIGN KEY (estado) REFERENCES estados (codigo)
) ENGINE = InnoDB CHARACTER SET utf8mb4;
